"""One verdict for each address: what names it, what is wider, and what is not known."""

from __future__ import annotations

import ipaddress

from hypothesis import given
from hypothesis import strategies as st

from k8s_firewall_parts import verify
from k8s_firewall_parts.intervals import Entries, Interest, Interval, parse
from k8s_firewall_parts.openings import UNCLEAR, Opening, Reading
from tests.minion.test_minion_parsers import NETWORK, V4, V6

A = "192.0.2.1"


def opening(
    *sources: str, element: bool = False, effect: str = "accepts", why: str = ""
) -> Opening:
    return Opening(
        "iptables filter INPUT rule 7", "-j ACCEPT", sources, effect, why, element=element
    )


def verdict(*openings: Opening, entry: str = A, **unknown: str) -> verify.Verdict:
    return verify.find(Reading(openings, unknown), [entry])[entry]


def test_an_address_that_nothing_names_is_closed():
    found = verdict(opening("192.0.2.2"))
    assert (found.verdict, found.ended) == ("closed", True)


def test_an_address_that_a_rule_names_is_open_by_that_rule():
    found = verdict(opening("192.0.2.2", A))
    assert found.to_dict() == {
        "verdict": "open", "by": ["iptables filter INPUT rule 7: -j ACCEPT"], "why": "",
    }  # fmt: skip
    assert not found.ended


def test_a_network_around_an_address_counts_apart():
    found = verdict(opening("192.0.2.0/24"))
    assert (found.verdict, found.ended, len(found.wider)) == ("open", True, 1)


def test_what_could_not_be_read_is_unknown_and_does_not_end():
    found = verdict(nft="it failed")
    assert (found.verdict, found.why, found.ended) == ("unknown", "nft: it failed", False)


def test_an_open_address_is_open_whatever_else_is_unknown():
    assert verdict(opening(A), nft="it failed").verdict == "open"


def test_what_concerns_the_other_family_is_not_unknown():
    assert verdict(ip6tables="it failed").verdict == "closed"
    assert verdict(iptables="it failed", entry="2001:db8::1").verdict == "closed"
    assert verdict(**{"nft ip6 filter INPUT": "opaque"}).verdict == "closed"


def test_an_unclear_opening_is_open_and_says_why():
    found = verdict(opening(A, effect=UNCLEAR, why="it marks the packet"))
    assert found.verdict == "open"
    assert found.by[0].endswith("(it marks the packet)")


def test_merged_elements_name_the_addresses_in_them():
    assert verdict(opening("192.0.2.1-192.0.2.3", element=True)).named
    assert verdict(opening("192.0.2.0/31", element=True)).named
    assert verdict(opening("192.0.0.0/16", element=True)).wider


def test_a_part_of_a_network_names_the_network():
    assert verdict(opening("198.51.100.7"), entry="198.51.100.0/24").named


def test_connections_are_part_of_the_verdict():
    found = verify.find(Reading(), [A], {A: ("connection tcp 5432",)})[A]
    assert (found.verdict, found.by, found.ended) == ("open", ["connection tcp 5432"], False)


@given(V4 | V6)
def test_an_address_is_an_interval_of_one(address):
    assert str(parse(address)) == address


@given(NETWORK)
def test_a_network_is_an_interval_with_the_same_text(network):
    one = parse(network)
    assert one is not None
    assert str(one) == network
    assert one.size == ipaddress.ip_network(network).num_addresses


SMALL = st.builds(
    lambda a, b: Interval(4, min(a, b), max(a, b)), st.integers(0, 40), st.integers(0, 40)
)


@given(st.lists(SMALL, max_size=6), SMALL)
def test_the_index_finds_what_a_comparison_of_all_finds(many, one):
    texts = [str(interval) for interval in many]
    expected = sorted(
        text for interval, text in zip(many, texts, strict=True) if interval.overlaps(one)
    )
    assert sorted(text for _, text in Entries(texts).overlapping(one)) == expected
    assert Interest(texts).touches(one) == bool(expected)


@given(st.text(max_size=20) | st.integers() | st.none())
def test_any_text_is_an_interval_or_none(junk):
    parse(junk)


def test_addresses_are_read_as_iptables_takes_them():
    assert str(parse("192.0.2.1/255.255.255.255")) == A
    assert str(parse("192.0.2.77/24")) == "192.0.2.0/24"
    assert str(parse("10.77/16")) == "10.77.0.0/16"
    assert str(parse("0.0.0.0/0")) == "0.0.0.0/0"
    assert str(parse("2001:DB8::/ffff:ffff::")) == "2001:db8::/32"
    assert parse("192.0.2.9-192.0.2.1") is None
