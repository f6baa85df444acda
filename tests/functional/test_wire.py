"""What a kubelet writes is bounded where it is decoded, and never breaks the decoding of others."""

from __future__ import annotations

import json
from typing import Any

from salt_ext.core.cluster.node import MAX_CLAIMS, MAX_LABELS, Node
from salt_ext.kube import wire


def decoded(*, labels: dict[str, str] | None = None, **status: Any) -> Node:
    """Decode a node as a watch does."""
    metadata = {"name": "n1", "uid": "u1", "resourceVersion": "5", "labels": labels}
    line = {"type": "MODIFIED", "object": {"metadata": metadata, "status": status}}
    return wire.to_node(wire.node_event.decode(json.dumps(line).encode()).object)


def addresses(*texts: str) -> list[dict[str, str]]:
    return [{"type": "InternalIP", "address": text} for text in texts]


def test_labels_of_a_megabyte_are_not_kept_and_the_node_says_so():
    one = decoded(labels={f"label-{n}": "x" * 60_000 for n in range(20)})
    assert one.labels == {}
    assert one.label_problem == "labels of 1200150 characters; at most 65536 are kept"


def test_too_many_labels_are_not_kept():
    assert decoded(labels={f"l{n}": "" for n in range(MAX_LABELS)}).label_problem == ""
    one = decoded(labels={f"l{n}": "" for n in range(MAX_LABELS + 1)})
    assert (one.labels, one.label_problem) == ({}, "513 labels; at most 512 are kept")


def test_forty_thousand_addresses_are_counted_and_not_kept():
    one = decoded(addresses=addresses(*(f"10.0.{n // 256}.{n % 256}" for n in range(40_000))))
    assert len(one.internal) == MAX_CLAIMS
    assert one.claim_count() == 40_000


def test_a_long_text_is_cut_and_stays_unreadable():
    (text,) = decoded(addresses=addresses("10.0.0.1" + " " * 1_000_000)).internal
    assert len(text) == 64


def test_a_usual_node_is_kept_as_it_is():
    one = decoded(labels={"pool": "app"}, addresses=addresses("10.0.0.1"))
    assert one == Node(name="n1", uid="u1", internal=("10.0.0.1",), labels={"pool": "app"})
