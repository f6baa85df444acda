"""One vector for both sides of a delivery: the master signs it, the minion verifies it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from k8s_firewall_parts import delivery
from salt_ext.core.rollout import payload as masters_side
from tests.golden import HERE

VECTOR: dict[str, Any] = json.loads((HERE / "delivery_seal.json").read_text())


def test_the_minion_signs_exactly_this_text() -> None:
    payload = VECTOR["payload"]
    text = delivery.signed_text(VECTOR["minion"], payload["clusters"], payload["references"])
    assert text == VECTOR["signed_text"]
    assert delivery.sign(VECTOR["key"], text) == VECTOR["signature"]


def test_the_master_makes_this_key_payload_and_signature() -> None:
    secret, minion = bytes.fromhex(VECTOR["secret"]), VECTOR["minion"]
    assert masters_side.key(secret, minion) == VECTOR["key"]
    clusters = VECTOR["payload"]["clusters"]
    one = masters_side.AddressPayload(
        store=clusters["prod"]["store"],
        clusters={name: (view["revision"], view["observed_at"]) for name, view in clusters.items()},
        references={text: tuple(found) for text, found in VECTOR["payload"]["references"].items()},
    )
    published = one.signed(secret, [minion])
    assert published == {**VECTOR["payload"], "seals": {minion: VECTOR["signature"]}}


def test_the_minion_accepts_what_the_master_publishes() -> None:
    payload = VECTOR["payload"]
    granted = {
        "block": {"sets": {"prod": sorted(payload["references"])}},
        "references": sorted(payload["references"]),
        "clusters": sorted(payload["clusters"]),
        "key": VECTOR["key"],
    }
    applied = {name: {**view, "revision": 0} for name, view in payload["clusters"].items()}
    # Through Salt it travels as msgpack; JSON is as strict about what a value may be.
    published = json.loads(
        json.dumps({**payload, "seals": {VECTOR["minion"]: VECTOR["signature"]}})
    )
    pillar = delivery.accept(granted, applied, published, VECTOR["minion"], "k8s_firewall")
    served = sorted({one for found in payload["references"].values() for one in found})
    assert pillar["k8s_nodes"] == {"clusters": payload["clusters"], "served": served}
    with pytest.raises(delivery.Rejected):
        delivery.accept(granted, applied, published, "another", "k8s_firewall")
