"""ipsets: what is written for a difference, and what is read back."""

from __future__ import annotations

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
