"""The nft table: what is written for a difference, and what is read back."""

from __future__ import annotations

import pytest

from k8s_firewall_parts import nft


def test_a_small_difference_is_written_as_one():
    found = {"a_v4": frozenset({"192.0.2.1", "192.0.2.2", "192.0.2.3"})}
    meant = {"a_v4": frozenset({"192.0.2.2", "192.0.2.3", "192.0.2.4"})}
    assert nft.delta(found, meant).splitlines() == [
        "delete element inet k8s_firewall a_v4 { 192.0.2.1 }",
        "add element inet k8s_firewall a_v4 { 192.0.2.4 }",
    ]


def test_networks_and_large_differences_are_written_anew():
    for name, old, new in (
        ("a_v4_net", {"10.0.0.0/24", "10.0.1.0/24"}, {"10.0.0.0/24"}),
        ("a_v4", {"192.0.2.1", "192.0.2.2"}, {"192.0.2.3"}),
    ):
        told = nft.delta({name: frozenset(old)}, {name: frozenset(new)}).splitlines()
        assert told[0] == f"flush set inet k8s_firewall {name}"
        assert told[1].startswith(f"add element inet k8s_firewall {name}")
        assert len(told) == 2


def test_the_listing_is_taken_apart():
    listing = (
        "table inet k8s_firewall {\n\tset a_v4 {\n\t\ttype ipv4_addr\n"
        "\t\telements = { 192.0.2.1, 192.0.2.2,\n\t\t\t     192.0.2.3 }\n\t}\n\n"
        "\tset b_v4 {\n\t\ttype ipv4_addr\n\t}\n\n\tchain c {\n\t\tcounter drop\n\t}\n}\n"
    )
    found = nft.parse(listing)
    assert found.elements == {
        "a_v4": {"192.0.2.1", "192.0.2.2", "192.0.2.3"},
        "b_v4": frozenset(),
    }
    emptied = listing.replace(
        "\t\telements = { 192.0.2.1, 192.0.2.2,\n\t\t\t     192.0.2.3 }\n", ""
    )
    assert nft.parse(emptied).structure == found.structure


LOADED = """\
table inet k8s_firewall {
set a_v4 {
type ipv4_addr
}
chain a {
ip saddr @a_v4 accept
tcp dport { 1, 2 } drop
counter drop
}
chain b {
type filter hook input priority 0; policy accept;
tcp dport 80 jump a
counter drop
}
}
"""
LISTED = """\
table inet k8s_firewall { # handle 7
\tset a_v4 { # handle 3
\t\ttype ipv4_addr
\t\telements = { 192.0.2.1 }
\t}

\tchain a { # handle 1
\t\tip saddr @a_v4 accept # handle 4
\t\ttcp dport { 1, 2 } drop # handle 6
\t\tcounter drop # handle 7
\t}

\tchain b { # handle 2
\t\ttype filter hook input priority filter; policy accept;
\t\ttcp dport 80 jump a # handle 8
\t\tcounter drop # handle 9
\t}
}
"""


@pytest.mark.parametrize(
    ("before", "after", "as_loaded"),
    [
        ("", "", True),
        (" # handle 9\n", " # handle 9\n\t\taccept # handle 10\n", False),
        ("\t\tcounter drop # handle 9\n", "\t\taccept # handle 10\n", False),
        ("counter drop # handle 7", "accept # handle 10", False),
        ("\t\tcounter drop # handle 7\n", "", False),
        ("ip saddr @a_v4 accept # handle 4", "accept # handle 10", False),
        ("policy accept;", "policy drop;", False),
        ("\tchain b {", "\tchain c { # handle 10\n\t}\n\tchain b {", False),
        ("\tset a_v4 {", "\tset b_v4 { # handle 10\n\t\ttype ipv4_addr\n\t}\n\tset a_v4 {", False),
    ],
)
def test_a_table_that_another_program_has_changed_since_it_was_loaded_is_recognized(
    before: str, after: str, as_loaded: bool
) -> None:
    assert before in LISTED
    changed = LISTED.replace(before, after, 1) if before else LISTED
    assert nft.is_as_loaded(changed, nft.DELETE + LOADED) is as_loaded


def test_a_listing_with_handles_has_the_structure_of_one_without() -> None:
    without = "\n".join(line.partition(" # handle")[0] for line in LISTED.splitlines()) + "\n"
    assert nft.structure_of(LISTED) == nft.parse(without).structure
