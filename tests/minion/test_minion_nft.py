"""The nft table: what is written for a difference, and what is read back."""

from __future__ import annotations

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


def test_our_table_is_taken_out_of_everybodys():
    text = "table ip a {\n\tchain x {\n\t}\n}\ntable inet k8s_firewall {\n\tset a_v4 {\n\t}\n}\n"
    assert nft.own_structure(text) == "table inet k8s_firewall {\n\tset a_v4 {\n\t}\n}"
    assert nft.own_structure(text + "table ip b {\n}\n") == nft.own_structure(text)
    assert nft.own_structure("table ip a {\n}\n") == ""
