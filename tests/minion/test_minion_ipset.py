"""ipsets: what is written for a difference, and what is read back."""

from __future__ import annotations

import pytest

from k8s_firewall_parts import ipset


def made(name: str, *members: str, limit: int = 65536) -> str:
    create = f"create {name} hash:net family inet hashsize 1024 maxelem {limit} bucketsize 12\n"
    return create + "".join(f"add {name} {one}\n" for one in members)


def test_what_a_killed_run_has_left_is_destroyed_first():
    found = ipset.parse(made("k8sfw-0", "192.0.2.9") + made("a_v4"))
    told = ipset.changes(found, {"a_v4": frozenset({"192.0.2.1"})}).splitlines()
    assert told[0] == "destroy k8sfw-0"


def test_a_set_that_is_full_is_made_larger_aside():
    found = ipset.parse(made("a_v4", "192.0.2.1", "192.0.2.2", limit=2))
    meant = {"a_v4": frozenset({"192.0.2.1", "192.0.2.2", "192.0.2.3"})}
    told = ipset.changes(found, meant)
    assert "create k8sfw-0 hash:net family inet hashsize 1024 maxelem 65536\n" in told
    assert told.endswith("swap k8sfw-0 a_v4\ndestroy k8sfw-0\n")


def test_all_sets_are_filled_before_the_first_is_swapped():
    found = ipset.parse(made("a_v4", "192.0.2.1") + made("b_v4", "192.0.2.1"))
    meant = {name: frozenset({"192.0.2.7", "192.0.2.8"}) for name in ("a_v4", "b_v4")}
    told = ipset.changes(found, meant).splitlines()
    assert [line.split()[0] for line in told if line.split()[0] != "add"] == [
        "create", "create", "swap", "destroy", "swap", "destroy",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "options",
    ["timeout 0", "timeout 600", "comment", "counters", "skbinfo", "forceadd", "counters comment"],
)
def test_a_set_with_other_options_is_swapped_for_a_clean_one(options: str) -> None:
    create = f"create a_v4 hash:net family inet hashsize 1024 maxelem 65536 {options} bucketsize 12"
    found = ipset.parse(f"{create}\nadd a_v4 192.0.2.1\n")
    told = ipset.changes(found, {"a_v4": frozenset({"192.0.2.1"})})
    assert told == (
        "create k8sfw-0 hash:net family inet hashsize 1024 maxelem 65536\nadd k8sfw-0 192.0.2.1\n"
        "swap k8sfw-0 a_v4\ndestroy k8sfw-0\n"
    )


@pytest.mark.parametrize(
    ("entry", "members"),
    [
        ("198.51.100.0/24 timeout 0", {"198.51.100.0/24"}),
        ('192.0.2.1 comment "192.0.2.9 is another"', {"192.0.2.1"}),
        ("192.0.2.1 packets 0 bytes 0", {"192.0.2.1"}),
        ("192.0.2.1 nomatch", set()),
        ("192.0.2.1,tcp:80", set()),
        ("no address", set()),
        ("198.51.100.0/240", set()),
    ],
)
def test_a_member_is_the_first_word_of_an_entry_and_an_address(
    entry: str, members: set[str]
) -> None:
    found = ipset.parse(f"create a_v4 hash:net family inet maxelem 65536\nadd a_v4 {entry}\n")
    assert found["a_v4"].members == members
    told = ipset.changes(found, {"a_v4": frozenset(members)})
    assert told.endswith("swap k8sfw-0 a_v4\ndestroy k8sfw-0\n")
