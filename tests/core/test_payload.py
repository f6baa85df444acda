"""A payload is signed for each minion, and minions compute the same signature."""

from __future__ import annotations

from k8s_firewall_parts import delivery as minions_side
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
    text = minions_side.signed_text("m1", told["clusters"], told["references"])
    theirs = minions_side.sign(key(SECRET, "m1"), text)
    assert theirs == told["seals"]["m1"] == sign(key(SECRET, "m1"), "m1", told)


def test_the_size_counts_all_addresses():
    assert ONE.size == 2
