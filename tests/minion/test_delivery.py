"""Which deliveries a minion accepts, and how new a pillar is."""

from __future__ import annotations

import pytest

from k8s_firewall_parts import delivery, freshness


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
