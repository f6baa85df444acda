"""Which deliveries a minion accepts, and how new a pillar is."""

from __future__ import annotations

import pytest

from k8s_firewall_parts import delivery, freshness
from k8s_firewall_parts.state_dir import StateDir
from tests.minion.build import view


@pytest.mark.parametrize(
    ("now", "before", "says"),
    [
        ((8, 2.0), (7, 1.0), ""),
        ((8, 1.0), (7, 1.0), ""),
        ((7, 1.0), (7, 1.0), "already applied"),
        ((6, 2.0), (7, 1.0), "cluster prod: delivered revision 6, applied 7"),
        ((8, 0.5), (7, 1.0), "cluster prod: delivered view was observed before the applied one"),
    ],
)
def test_only_what_is_newer_in_both_is_taken(now, before, says):
    def told(age):
        return {"prod": {"revision": age[0], "observed_at": age[1], "store": "s"}}

    assert freshness.why_not_newer(told(now), told(before)) == says
    assert "no applied pillar has it" in freshness.why_not_newer(told(now), {})
    other = {"prod": {**told(before)["prod"], "store": "t"}}
    assert "the store of another master" in freshness.why_not_newer(told(now), other)


WRITTEN = {"sets": {"a": ["k8s://x", "1"], "b": ["1"]}, "rules": [{"sources": ["k8s://x", "a"]}]}


@pytest.mark.parametrize(
    ("value", "same"),
    [
        ({"sets": {"a": ["8", "9", "1"], "b": ["1"]}, "rules": [{"sources": ["8", "a"]}]}, True),
        ({"sets": {"a": ["1"], "b": ["1"]}, "rules": [{"sources": ["a"]}]}, True),
        ({"sets": {"a": ["8", "7", "1"], "b": ["1"]}, "rules": [{"sources": ["a"]}]}, False),
        ({"sets": {"a": ["8"], "b": ["1"]}, "rules": [{"sources": ["a"]}]}, False),
        ({"sets": {"a": ["1"], "b": ["1", "8"]}, "rules": [{"sources": ["a"]}]}, False),
        ({"sets": {"a": ["1"], "b": ["1"]}, "rules": [{"sources": ["a"]}, {}]}, False),
        ({"sets": {"a": ["1"]}, "rules": [{"sources": ["a"]}]}, False),
        ({"sets": {"a": ["1"], "b": ["1"]}, "rules": [{"sources": "a"}]}, False),
        (None, False),
    ],
)
def test_a_block_is_what_was_written_but_for_who_was_served(value, same):
    assert delivery.is_filled(value, WRITTEN, frozenset(["8", "9"])) is same


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        (view(7, 2.0), view(7, 2.0), ""),
        (view(7, 2.0), view(6, 1.0), "cluster prod: served revision 6, applied 7"),
        (view(7, 2.0), view(8, 1.0), ""),
        (view(7, 2.0), view(1, 3.0), ""),
        (view(7, 2.0), view(3, 1.0, store="b"), ""),
        (view(7, 2.0), view(3, 1.0, store="b", stale=True),
         "cluster prod: served by another master with a stale view"),
    ],
)  # fmt: skip
def test_a_pillar_is_stale_only_when_it_is_behind_in_both(before, after, reason):
    found = freshness.stale_reasons({"prod": after}, {"prod": before})
    assert found == ([reason] if reason else [])
    assert freshness.stale_reasons({"new": after}, {"prod": before}) == []


@pytest.mark.parametrize(
    "pillar",
    [
        {},
        {"k8s_nodes": None},
        {"k8s_nodes": {"clusters": []}},
        {"k8s_nodes": {"clusters": {"prod": None, "a": {"revision": 1}}}},
    ],
)
def test_a_pillar_without_views_has_no_revisions(pillar):
    assert freshness.revisions_of(pillar) == {}


def test_the_revisions_of_a_pillar():
    clusters = {"prod": {"revision": 7, "observed_at": 1.5}, 5: view(1, store="b", stale=True)}
    found = freshness.revisions_of({"k8s_nodes": {"clusters": clusters}})
    assert found == {"prod": view(7, 1.5, store=""), "5": view(1, 1.0, store="b", stale=True)}
    assert freshness.numbers(found) == {"5": 1, "prod": 7}


BLOCK = {"sets": {"prod": ["k8s://x", "192.0.2.200"]}, "gates": {"5432": "prod"}}
KEY = "ab" * 32


def pillar(**changes):
    granted = {"block": BLOCK, "references": ["k8s://x"], "key": KEY}
    return {
        "k8s_firewall": {**BLOCK, "sets": {"prod": ["192.0.2.1", "192.0.2.200"]}},
        "k8s_nodes": {
            "clusters": {"prod": view(7)}, "served": ["192.0.2.1"], "delivery": granted, **changes,
        },
    }  # fmt: skip


def delivered(revision=8, minion="m1", **changes):
    clusters = {"prod": view(revision, 2.0)}
    references = {"k8s://x": ["192.0.2.2", "2001:db8::2"]}
    text = delivery.signed_text(minion, clusters, references)
    seals = {minion: delivery.sign(KEY, text)}
    return {"clusters": clusters, "references": references, "seals": seals, **changes}


GRANT = delivery.grant(pillar(), "k8s_firewall")
APPLIED = freshness.revisions_of(pillar())


def accept(granted=GRANT, applied=APPLIED, **changes):
    return delivery.accept(granted, applied, delivered(**changes), "m1", "k8s_firewall")


def test_a_pillar_grants_what_a_delivery_needs():
    assert GRANT == {
        "block": BLOCK, "references": ["k8s://x"], "clusters": ["prod"], "key": KEY,
    }  # fmt: skip


@pytest.mark.parametrize(
    "without",
    [
        {},
        {"k8s_nodes": None},
        pillar(delivery=None),
        pillar(delivery={"block": None}),
        pillar(delivery={"block": {**BLOCK, "prune": {}}}),
        # Another ext_pillar has changed the block.
        {**pillar(), "k8s_firewall": {**BLOCK, "sets": {"prod": ["192.0.2.1", "192.0.2.9"]}}},
        {**pillar(), "k8s_firewall": None},
        pillar(served=[]),
    ],
)
def test_other_pillars_grant_nothing(without):
    assert delivery.grant(without, "k8s_firewall") == {}


def test_a_delivery_makes_a_pillar_of_the_grant():
    assert accept() == {
        "k8s_firewall": {
            "sets": {"prod": ["192.0.2.2", "2001:db8::2", "192.0.2.200"]},
            "gates": {"5432": "prod"},
        },
        "k8s_nodes": {"clusters": {"prod": view(8, 2.0)}, "served": ["192.0.2.2", "2001:db8::2"]},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"granted": {}}, "the applied pillar grants no deliveries"),
        ({"seals": {}}, "not made for this minion"),
        ({"seals": {"m1": None}}, "not made for this minion"),
        ({"minion": "m2"}, "not made for this minion"),
        ({"seals": {"m1": "0" * 64}}, "not signed by this minion's master"),
        ({"references": {"k8s://x": ["203.0.113.1"]}}, "not signed by this minion's master"),
        ({"clusters": {"prod": view(9, 3.0)}}, "not signed by this minion's master"),
        ({"granted": {**GRANT, "key": "no hex"}}, "not made for this minion"),
        ({"granted": {**GRANT, "key": "cd" * 32}}, "not signed by this minion's master"),
        ({"granted": {**GRANT, "references": ["k8s://y"]}}, "other references than the applied"),
        ({"granted": {**GRANT, "clusters": ["prod", "x"]}}, "other references than the applied"),
        ({"revision": 7}, "already applied"),
        ({"revision": 6}, "delivered revision 6, applied 7"),
        ({"applied": {}}, "no applied pillar has it"),
    ],
)
def test_a_delivery_is_rejected_with_the_reason(changes, reason):
    with pytest.raises(delivery.Rejected, match=reason):
        accept(**changes)


@pytest.mark.parametrize("junk", [None, [], {}, "x", {"clusters": 1}, {"clusters": {}, "seals": 1}])
def test_junk_is_rejected(junk):
    with pytest.raises(delivery.Rejected):
        delivery.accept(GRANT, APPLIED, junk, "m1", "k8s_firewall")


def test_the_grant_is_recorded_and_withdrawn(tmp_path):
    folder = StateDir(str(tmp_path))
    delivery.record_grant(folder, pillar(), "k8s_firewall")
    assert folder.read(delivery.FILE) == GRANT
    delivery.record_grant(folder, {}, "k8s_firewall")
    assert folder.read(delivery.FILE) == {}
    delivery.record_grant(folder, {**pillar(), "k8s_firewall": {"a": object()}}, "k8s_firewall")
    assert folder.read(delivery.FILE) == {}
    # A block that JSON cannot hold.
    odd = {**pillar(delivery={"block": {"a": {1, 2}}}), "k8s_firewall": {"a": {1, 2}}}
    delivery.record_grant(folder, odd, "k8s_firewall")
    assert folder.read(delivery.FILE) == {}
