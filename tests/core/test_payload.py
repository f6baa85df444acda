"""A payload is signed for each minion, and minions compute the same signature."""

from __future__ import annotations

import pytest

from k8s_firewall_parts import delivery as minions_side
from k8s_firewall_parts import revision
from salt_ext.core.rollout.payload import AddressPayload, key, sign

SECRET = b"s" * 32
ONE = AddressPayload(
    store="s",
    clusters={"prod": (7, 1_700_000_000.123456)},
    references={"k8s://prod": ("192.0.2.1", "2001:db8::1"), "k8s://prod?family=ipv4": ()},
)


def test_each_minion_has_its_own_key_and_signature():
    told = ONE.signed(SECRET, ["m1", "m2"])
    assert set(told["seals"]) == {"m1", "m2"}
    assert told["seals"]["m1"] != told["seals"]["m2"]
    assert key(SECRET, "m1") != key(b"t" * 32, "m1")
    assert SECRET.hex() not in str(told)
    assert key(SECRET, "m1") not in str(told)


def test_both_sides_compute_the_same_signature():
    told = ONE.signed(SECRET, ["m1"])
    theirs = minions_side._seal(key(SECRET, "m1"), "m1", told["clusters"], told["references"])
    assert theirs == told["seals"]["m1"] == sign(key(SECRET, "m1"), "m1", told)


def test_the_size_counts_all_addresses():
    assert ONE.size == 2


@pytest.mark.parametrize(
    ("now", "before", "says"),
    [
        ((8, 2.0), (7, 1.0), ""),
        ((8, 1.0), (7, 1.0), ""),
        ((7, 1.0), (7, 1.0), "it is what is in force"),
        ((6, 2.0), (7, 1.0), "prod is delivered at revision 6, and 7 is in force"),
        ((8, 0.5), (7, 1.0), "prod is delivered at revision 8, and 7 is in force"),
    ],
)
def test_only_what_is_newer_in_both_is_taken(now, before, says):
    def told(age):
        return {"prod": {"revision": age[0], "observed_at": age[1], "store": "s"}}

    assert revision.not_newer(told(now), told(before)) == says
    assert "by any pillar" in revision.not_newer(told(now), {})
    other = {"prod": {**told(before)["prod"], "store": "t"}}
    assert "another store" in revision.not_newer(told(now), other)


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
    assert minions_side._is_made_of(value, WRITTEN, frozenset(["8", "9"])) is same
