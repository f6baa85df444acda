"""What nft prints as JSON, also with the opaque rules of iptables, and what it lets in."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from k8s_firewall_parts import chains, read_nft
from k8s_firewall_parts.intervals import Interest
from k8s_firewall_parts.openings import ACCEPTS, UNCLEAR, NftRule, Opening
from tests.minion.test_minion_parsers import JSON

A = "192.0.2.1"
ACCEPT: dict[str, Any] = {"accept": None}
SADDR = {"payload": {"protocol": "ip", "field": "saddr"}}
DPORT = {"payload": {"protocol": "tcp", "field": "dport"}}
OLD_SADDR = {"payload": {"name": "ip", "field": "saddr"}}


def match(right: object, left: object = SADDR, op: str = "==") -> dict[str, Any]:
    return {"match": {"op": op, "left": left, "right": right}}


def ruleset(*rules: list[Any], more: tuple[Any, ...] = (), family: str = "inet") -> dict[str, Any]:
    chain = {"family": family, "table": "filter", "name": "INPUT", "handle": 1,
             "type": "filter", "hook": "input", "prio": 0, "policy": "drop"}  # fmt: skip
    return {
        "nftables": [
            {"metainfo": {"version": "1.0.6", "json_schema_version": 1}},
            {"table": {"family": family, "name": "filter", "handle": 1}},
            {"chain": chain},
            *more,
            *(
                {"rule": {"family": family, "table": "filter", "chain": "INPUT", "handle": at,
                          "expr": expr}}
                for at, expr in enumerate(rules, 10)
            ),
        ]
    }  # fmt: skip


def reader(document: object, texts: read_nft.Texts | None = None) -> read_nft.Reader:
    return read_nft.Reader(document, texts or {}, lambda name: chains.NamedSet(f"ipset {name}"))


def found(document: object, texts: read_nft.Texts | None = None) -> list[Opening]:
    analysis = chains.Analysis(reader(document, texts).chains)
    return list(chains.openings(analysis, Interest([A])))


def named(kind: str, elements: list[Any], **more: Any) -> dict[str, Any]:
    return {kind: {"family": "inet", "table": "filter", "name": "s", "elem": elements, **more}}


@pytest.mark.parametrize(
    "expr",
    [
        [match(A)],
        [match(A, OLD_SADDR)],
        [match({"prefix": {"addr": "192.0.2.0", "len": 24}})],
        [match({"range": ["192.0.2.0", "192.0.2.9"]})],
        [match({"set": ["198.51.100.1", A]})],
        [match({"set": [{"elem": {"val": A, "comment": "x"}}]})],
        [match(A, {"ct": {"key": "ip saddr", "dir": "original"}})],
        [match(A, {"ct": {"key": "saddr", "dir": "original", "family": "ip"}})],
        [match("192.0.2.0", {"&": [SADDR, "255.255.255.0"]})],
        [match("192.0.2.0", op=">=")],
        [match(3221225985, {"payload": {"base": "nh", "offset": 96, "len": 32}})],
        [match({"set": [{"concat": [A, 22]}]}, {"concat": [SADDR, DPORT]})],
        [match({"concat": [A, 22]}, {"concat": [SADDR, DPORT]})],
        [match(A), {"limit": {"rate": 3}}, {"counter": {"packets": 0}}, {"log": {"prefix": "x"}}],
        [match(A), {"xt": {"type": "match", "name": "recent"}}],
        [match(A), {"xt": None}],
        [match(A), {"unheard": {"of": 1}}],
    ],
)
def test_an_accept_is_read_in_every_form(expr):
    assert [one.effect for one in found(ruleset([*expr, ACCEPT]))] == [ACCEPTS]


@pytest.mark.parametrize(
    "expr",
    [
        [match(A), {"drop": None}],
        [match(A), {"reject": {"type": "icmpx", "expr": "port-unreachable"}}],
        [match(A), {"xt": {"type": "target", "name": "REJECT"}}],
        [match(A), {"counter": None}],
        [match(A), {"log": None}],
        [match(A, op="!="), ACCEPT],
        [match(A, {"payload": {"protocol": "ip", "field": "daddr"}}), ACCEPT],
        [match(A, {"ct": {"key": "ip saddr", "dir": "reply"}}), ACCEPT],
        [match("00:00:00:00:00:01", {"payload": {"protocol": "ether", "field": "saddr"}}), ACCEPT],
        [match("lo", {"meta": {"key": "iifname"}}), match(A), ACCEPT],
        [match(A), {"return": None}],
    ],
)
def test_what_lets_no_packet_of_the_address_in_is_not_an_opening(expr):
    assert found(ruleset(expr)) == []


@pytest.mark.parametrize(
    "statement",
    [
        {"mangle": {"key": {"meta": {"key": "mark"}}, "value": 3}},
        {"mangle": {"key": {"ct": {"key": "mark"}}, "value": 3}},
        {"notrack": None},
        {"queue": {"num": 3}},
        {"dnat": {"addr": "192.0.2.9"}},
        {"set": {"op": "add", "elem": SADDR, "set": "@s"}},
        {"xt": {"type": "target", "name": "MARK"}},
        {"xt": None},
    ],
)
def test_a_statement_that_may_let_in_is_unclear(statement):
    (opening,) = found(ruleset([match(A), statement]))
    assert opening.effect == UNCLEAR
    assert opening.why


@pytest.mark.parametrize(
    "element",
    [
        A,
        {"elem": {"val": A, "timeout": 60, "expires": 59, "comment": "x"}},
        {"elem": {"val": A, "counter": {"packets": 0, "bytes": 0}}},
        {"prefix": {"addr": "192.0.2.0", "len": 24}},
        {"range": ["192.0.2.0", "192.0.2.9"]},
    ],
)
def test_elements_of_a_named_set_let_in(element):
    more = (named("set", [element, "198.51.100.1"], type="ipv4_addr", flags=["interval"]),)
    (opening,) = found(ruleset([match("@s"), ACCEPT], more=more))
    assert opening.place == "nft set inet filter s"
    assert (opening.element, opening.removal) == (True, None)


def test_elements_of_a_set_that_a_masked_address_is_looked_up_in_are_networks():
    left = {"&": [SADDR, "255.255.255.0"]}
    document = ruleset([match("@s", left), ACCEPT], more=(named("set", ["192.0.2.0"]),))
    assert [one.sources for one in found(document)] == [("192.0.2.0/24",)]
    document = ruleset([match({"set": ["192.0.2.0", "198.51.100.0"]}, left), ACCEPT])
    assert [one.sources for one in found(document)] == [("192.0.2.0/24",)]


def test_a_named_set_that_only_drops_is_not_an_opening():
    assert found(ruleset([match("@s"), {"drop": None}], more=(named("set", [A]),))) == []


def test_a_named_set_of_those_that_are_not_dropped_lets_in():
    document = ruleset([match("@s", op="!="), {"drop": None}], more=(named("set", [A]),))
    assert [one.place for one in found(document)] == ["nft set inet filter s"]


def test_only_accepting_elements_of_a_verdict_map_let_in():
    elements = [[A, {"drop": None}], [{"range": ["192.0.2.1", "192.0.2.2"]}, ACCEPT]]
    document = ruleset(
        [{"vmap": {"key": SADDR, "data": "@s"}}], more=(named("map", elements, map="verdict"),)
    )
    (opening,) = found(document)
    assert opening.sources == ("192.0.2.1-192.0.2.2",)
    assert opening.place == "nft map inet filter s"


def test_a_verdict_map_of_addresses_and_ports_lets_in():
    elements = {"set": [[{"concat": [A, 22]}, ACCEPT], [{"concat": [A, 23]}, {"drop": None}]]}
    key = {"concat": [SADDR, DPORT]}
    assert len(found(ruleset([{"vmap": {"key": key, "data": elements}}]))) == 1


def test_a_jump_lets_in_where_its_chain_may_accept():
    chain = {"chain": {"family": "inet", "table": "filter", "name": "lim"}}
    rule = {"rule": {"family": "inet", "table": "filter", "chain": "lim", "handle": 5,
                     "expr": [{"limit": {}}, ACCEPT]}}  # fmt: skip
    document = ruleset([match(A), {"jump": {"target": "lim"}}], more=(chain, rule))
    (opening,) = found(document)
    assert opening.removal == NftRule("inet", "filter", "INPUT", 10)
    empty = ruleset([match(A), {"jump": {"target": "lim"}}], more=(chain,))
    assert found(empty) == []


def test_a_chain_for_the_other_family_accepts_nothing_of_an_address():
    # As firewalld has it below each zone.
    chain = {"chain": {"family": "inet", "table": "filter", "name": "six"}}
    icmp = {"payload": {"protocol": "icmpv6", "field": "type"}}
    exprs = [
        [match("nd-neighbor-advert", icmp), ACCEPT],
        [match("ipv6", {"meta": {"key": "nfproto"}}), ACCEPT],
        [match("2001:db8::1", {"payload": {"protocol": "ip6", "field": "saddr"}}), ACCEPT],
        [match(A, {"payload": {"protocol": "ip", "field": "daddr"}}), ACCEPT],
    ]
    rules = tuple(
        {"rule": {"family": "inet", "table": "filter", "chain": "six", "handle": 5, "expr": expr}}
        for expr in exprs
    )
    six = match("2001:db8::1", {"payload": {"protocol": "ip6", "field": "saddr"}})
    jump = {"jump": {"target": "six"}}
    document = ruleset([six, jump], [match(A), jump], more=(chain, *rules))
    both = chains.openings(chains.Analysis(reader(document).chains), Interest())
    assert {source for one in both for source in one.sources} == {"2001:db8::1"}


OPAQUE = [{"xt": {"type": "match", "name": "iprange"}}, {"counter": {}}, ACCEPT]


def test_an_opaque_rule_is_read_from_its_text_and_deleted_by_its_handle():
    texts = {
        ("ip", "filter", "INPUT"): ["-A INPUT -m iprange --src-range 192.0.2.1-192.0.2.1 -j ACCEPT"]
    }
    (opening,) = found(ruleset(OPAQUE, family="ip"), texts)
    assert opening.sources == (A,)
    assert opening.place == "iptables filter INPUT rule 1"
    assert opening.removal == NftRule("ip", "filter", "INPUT", 10)


def test_where_the_rules_may_have_changed_between_the_two_no_handle_is_trusted():
    texts = {("ip", "filter", "INPUT"): [f"-A INPUT -m iprange --src-range {A}-{A} -j ACCEPT"]}
    read = read_nft.Reader(ruleset(OPAQUE, family="ip"), texts, chains.NamedSet, steady=False)
    (opening,) = chains.openings(chains.Analysis(read.chains), Interest([A]))
    assert (opening.sources, opening.removal) == ((A,), None)
    shown = [match(A), {"xt": {"type": "match", "name": "recent"}}, ACCEPT]
    other = {("ip", "filter", "INPUT"): ["-A INPUT -s 192.0.2.9 -j ACCEPT"]}
    read = read_nft.Reader(ruleset(shown, family="ip"), other, chains.NamedSet, steady=False)
    (opening,) = chains.openings(chains.Analysis(read.chains), Interest([A]))
    assert opening.removal == NftRule("ip", "filter", "INPUT", 10)


def test_texts_of_another_number_of_rules_are_not_used():
    texts = {("ip", "filter", "INPUT"): ["-A INPUT -j ACCEPT", "-A INPUT -j ACCEPT"]}
    assert list(reader(ruleset(OPAQUE, family="ip"), texts).unknown) == ["nft ip filter INPUT"]


def test_an_opaque_rule_without_its_text_is_unknown():
    read = reader(ruleset(OPAQUE, family="ip"))
    assert list(read.unknown) == ["nft ip filter INPUT"]


def test_opaque_matches_that_name_no_address_are_not_unknown():
    quiet = [{"xt": {"type": "match", "name": "multiport"}}, ACCEPT]
    named_source = [match(A), {"xt": {"type": "match", "name": "iprange"}}, ACCEPT]
    dropped = [{"xt": {"type": "match", "name": "conntrack"}}, {"drop": None}]
    assert reader(ruleset(quiet, named_source, dropped, family="ip")).unknown == {}


def test_a_rule_that_matches_an_ipset_which_is_not_shown_is_noted():
    rule = [{"xt": {"type": "match", "name": "set"}}, ACCEPT]
    read = reader(ruleset(rule, family="ip"))
    assert read.unread_sets
    assert read.unknown == {}


@pytest.mark.parametrize("document", [None, [], {}, {"nftables": 1}, {"nftables": []}])
def test_a_document_that_is_not_whole_says_so(document):
    assert read_nft.problem(document)


@given(JSON)
def test_any_document_is_read(junk):
    found(junk)
    found({"nftables": junk if isinstance(junk, list) else [junk]})
    found(ruleset(junk if isinstance(junk, list) else [junk], [{"match": junk}], [{"vmap": junk}]))
    found(
        ruleset([match("@s"), ACCEPT], more=(named("set", junk if isinstance(junk, list) else []),))
    )
    read_nft.Listing.of(junk, Interest([A])).opaque()
    read_nft.problem(junk)
