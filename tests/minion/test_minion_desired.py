"""A pillar becomes a desired state, or is refused as a whole with every mistake in it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8s_firewall_parts import addresses, desired, errors
from tests.minion.build import state

GOOD: dict[str, Any] = {
    "sets": {"prod": ["192.0.2.1", "2001:db8::1", "198.51.100.0/24"], "web": []},
    "gates": {5432: "prod", "6000-6010/udp": ["prod", "web"]},
    "rules": [
        {"name": "db", "ports": [5432], "sources": ["prod", "192.0.2.9"], "log": True},
        {"name": "all", "sources": "any", "action": "drop", "comment": "the rest"},
    ],
    "policy": {"input": "accept"},
    "keep": ["192.0.2.250"],
}


@pytest.mark.parametrize(
    ("pillar", "message"),
    [
        ({}, "this minion's pillar is empty"),
        ({"other": 1}, "has no mapping k8s_firewall"),
        ({"k8s_firewall": None}, "has no mapping k8s_firewall"),
        ({"_errors": ["a", "b"], "k8s_firewall": {}}, "did not compile: a"),
        ({"_errors": "all of it", "k8s_firewall": {}}, "did not compile: all of it"),
    ],
)
def test_a_pillar_without_a_usable_block_is_refused(pillar: dict[str, Any], message: str) -> None:
    with pytest.raises(errors.Refused, match=message):
        desired.parse(pillar, {})


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"set": {}}, "k8s_firewall:set is not a known key; known keys: backend, boot, drift"),
        ({"backend": "pf"}, "k8s_firewall:backend is 'pf', not one of nft, ipset"),
        ({"sets": []}, "k8s_firewall:sets is not a mapping of names to lists"),
        ({"sets": {"a": None}}, r"k8s_firewall:sets:a is not a list \(write \[\] for an empty set"),
        ({"sets": {"1a": []}}, "sets:1a is not a valid name of a set"),
        ({"sets": {5: []}}, "sets:5 is not a valid name of a set"),
        ({"sets": {"x" * 29: []}}, "is not a valid name of a set"),
        ({"sets": {"keep": []}}, "28 characters, and not keep"),
        ({"sets": {"a_v4": []}}, "sets:a_v4 looks like a name that this module gives"),
        ({"sets": {"a_v6_net": []}}, "choose another name"),
        ({"sets": {"rule_a": []}}, "sets:rule_a looks like a name"),
        ({"sets": {"k8sfw-1": []}}, "sets:k8sfw-1 begins with k8sfw-, like the temporary ipsets"),
        ({"sets": {"a": ["x"]}}, "sets:a: 'x' is not an IP address"),
        ({"sets": {"a": ["k8s://x"]}}, "sets:a: k8s://x is not resolved"),
        ({"keep": "192.0.2.1"}, "k8s_firewall:keep is not a list"),
        ({"keep": ["k8s://x"]}, "k8s_firewall:keep: 'k8s://x' is not"),
        ({"rules": [{"name": "a", "sources": ["k8s://x"]}]}, "rules: a: sources: k8s://x is not"),
        ({"gates": {1: "a"}}, "gates:1 names the unknown set 'a'"),
        ({"policy": {"input": "reject"}}, "policy:input is 'reject'"),
        ({"prune": []}, "prune is not a mapping"),
    ],
)
def test_a_mistake_is_named(block: dict[str, Any], message: str) -> None:
    with pytest.raises(errors.Refused, match=message):
        state(**block)


def test_every_mistake_is_named_at_once() -> None:
    with pytest.raises(errors.Refused) as caught:
        state(backend="pf", sets={"a": None}, keep=1)
    assert str(caught.value).count("; ") == 2


def test_a_set_with_an_unresolved_reference_keeps_its_last_content() -> None:
    before = state(**GOOD).all_sets()
    block = {
        "sets": {"prod": ["k8s://x", "192.0.2.7"], "web": ["192.0.2.8"]},
        "rules": [{"name": "db", "sources": ["k8s://y"]}],
    }
    parsed = desired.parse({"k8s_firewall": block}, before)
    assert parsed.unresolved == {
        "prod": "k8s://x is not resolved",
        "rule_db": "k8s://y is not resolved",
    }
    assert parsed.desired.sets["prod"] == before["prod"]
    assert parsed.desired.rule_sets["rule_db"] == before["rule_db"]
    assert parsed.desired.sets["web"].v4 == {"192.0.2.8"}


def test_without_keep_the_masters_are_kept() -> None:
    assert state("192.0.2.250", "2001:db8::9").keep.entries() == {"192.0.2.250", "2001:db8::9"}
    assert state("192.0.2.250", keep=[]).keep.entries() == frozenset()


def test_a_state_is_the_same_after_it_was_recorded() -> None:
    before = state(**GOOD)
    recorded = json.loads(json.dumps(before.as_dict))
    after = desired.Desired.from_dict(recorded)
    assert after == before
    assert after.digest() == before.digest()


def test_the_digest_tells_states_apart() -> None:
    digests = {
        state(**block).digest()
        for block in (
            GOOD,
            {**GOOD, "keep": []},
            {**GOOD, "backend": "ipset"},
            {**GOOD, "policy": {}},
            {**GOOD, "gates": {5432: "prod"}},
            {**GOOD, "rules": GOOD["rules"][:1]},
            {**GOOD, "sets": {**GOOD["sets"], "web": ["192.0.2.1"]}},
        )
    }
    assert len(digests) == 7


def test_what_moves_to_another_set_is_not_removed() -> None:
    before = state(sets={"a": ["192.0.2.1", "192.0.2.2", "10.0.0.0/24"], "b": ["192.0.2.3"]})
    after = state(sets={"a": ["192.0.2.1"], "c": ["192.0.2.2"]})
    assert after.removed_since(before) == {"10.0.0.0/24", "192.0.2.3"}
    assert before.removed_since(before) == frozenset()
    assert desired.Desired().removed_since(after) == {"192.0.2.1", "192.0.2.2"}


def test_a_parsed_pillar_has_the_configuration_of_prune() -> None:
    pillar = {"k8s_firewall": {"prune": {}}}
    assert desired.parse(pillar, {}).prune is not None
    assert desired.parse({"k8s_firewall": {}}, {}).prune is not None
    assert desired.parse({"k8s_firewall": {"prune": False}}, {}).prune is None


def test_a_pillar_without_the_block_asks_for_nothing_where_none_is_required() -> None:
    assert desired.parse({"other": 1}, {}, required=False).desired == desired.Desired()
    for pillar in ({}, {"_errors": ["no"]}, {"k8s_firewall": 5}):
        with pytest.raises(errors.Refused):
            desired.parse(pillar, {}, required=False)


def test_what_a_set_or_a_rule_lets_in_is_wanted_and_what_is_kept_is_not() -> None:
    found = state(
        sets={"prod": ["192.0.2.1"]},
        rules=[{"name": "ssh", "ports": [22], "protocol": "tcp", "sources": ["192.0.2.2"]}],
        keep=["192.0.2.3"],
    )
    assert [found.wants(f"192.0.2.{number}") for number in (1, 2, 3)] == [True, True, False]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.sampled_from(
        ["192.0.2.1", "2001:db8::1", "10.0.0.0/8", "k8s://x", "any", "prod", "accept", "5432"]
    ),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
        st.sampled_from([*sorted(desired.KEYS), "name", "sources", "ports", "iptables"])
        | st.text(max_size=10) | st.integers(), inner, max_size=4,
    ),
    max_leaves=15,
)  # fmt: skip


@given(st.dictionaries(st.sampled_from(sorted(desired.KEYS)), JSON, max_size=5))
def test_whatever_a_block_has_it_is_read_or_refused(block: dict[str, Any]) -> None:
    try:
        parsed = desired.parse({"k8s_firewall": block}, {})
    except errors.Refused:
        return
    for content in parsed.desired.all_sets().values():
        assert addresses.parse(sorted(content.entries())) == content
