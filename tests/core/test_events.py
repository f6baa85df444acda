"""Events are JSON, of bounded size."""

from __future__ import annotations

import json

from salt_ext.core import events
from salt_ext.core.cluster.diff import Baseline
from salt_ext.core.cluster.member import RejectReason
from salt_ext.core.cluster.refusal import HeldReason, Refusal
from salt_ext.core.events import MAX_ADDRESSES, MAX_NODES, Event
from tests.core.build import member, members, snapshot


def fired(old, new, **more) -> list[Event]:
    difference = Baseline(members(*old)).diff(members(*new))
    found = list(events.changed(snapshot(*new, **more), difference))
    for event in found:
        # JSON gives back what went in: no tuple, no address, no enum.
        assert json.loads(json.dumps(event.data)) == event.data
    return found


def test_the_change_is_first_then_each_node():
    old = [member("gone", "192.0.2.1"), member("moved", "192.0.2.2")]
    new = [
        member("moved", "192.0.2.3"),
        member("new", "192.0.2.4", pod_cidrs=("10.244.0.0/24",)),
    ]
    first, *rest = fired(old, new, cluster="eu", revision=7)
    assert first == Event(
        "salt/k8s_nodes/eu/changed",
        {
            "cluster": "eu",
            "revision": 7,
            "added": ["10.244.0.0/24", "192.0.2.3", "192.0.2.4"],
            "removed": ["192.0.2.1", "192.0.2.2"],
            "truncated": False,
            "nodes": 2,
        },
    )
    assert [(event.tag, event.data["node"], event.data["addresses"]) for event in rest] == [
        (
            "salt/k8s_nodes/eu/node/joined",
            "new",
            {"InternalIP": ["192.0.2.4"], "podCIDR": ["10.244.0.0/24"]},
        ),
        ("salt/k8s_nodes/eu/node/left", "gone", {"InternalIP": ["192.0.2.1"]}),
        ("salt/k8s_nodes/eu/node/updated", "moved", {"InternalIP": ["192.0.2.3"]}),
    ]
    assert all((event.data["cluster"], event.data["revision"]) == ("eu", 7) for event in rest)


def test_a_change_of_labels_has_no_addresses():
    first, one = fired([member("n1", labels={"a": "b"})], [member("n1")])
    assert (first.data["added"], first.data["removed"]) == ([], [])
    assert one.tag.endswith("/node/updated")


def test_a_mass_join_and_leave_is_cut():
    many = [member(f"n{n:03}", f"10.0.{n // 250}.{n % 250}") for n in range(500)]
    for old, new, key in ((), many, "added"), (many, (), "removed"):
        first, *rest = fired(old, new)
        assert len(first.data[key]) == MAX_ADDRESSES
        assert first.data["truncated"] is True
        assert first.data["nodes"] == len(new)
        assert len(rest) == MAX_NODES
    assert len(json.dumps(first.data)) < 10_000


def test_exactly_as_many_as_fit_are_not_truncated():
    first, *_ = fired([], [member(f"n{n}", f"10.0.0.{n}") for n in range(MAX_ADDRESSES)])
    assert len(first.data["added"]) == MAX_ADDRESSES
    assert first.data["truncated"] is False


def test_a_node_of_many_addresses_is_cut():
    _, one = fired([], [member("n1", *(f"10.0.0.{n}" for n in range(50)))])
    assert len(one.data["addresses"]["InternalIP"]) == 10


def test_a_refusal_names_its_node_reason_and_key():
    one = Refusal(node="n1", reason=RejectReason.DENIED, count=7, examples=("10.0.0.1",))
    event = events.refused("eu", one)
    assert event.tag == "salt/k8s_nodes/eu/refused"
    assert json.loads(json.dumps(event.data)) == {
        "cluster": "eu",
        "node": "n1",
        "reason": "inside denied_networks",
        "count": 7,
        "examples": ["10.0.0.1"],
        "key": "denied_networks",
    }
    flapping = Refusal(node="n1", reason=HeldReason.FLAPPING, count=1)
    assert events.refused("eu", flapping).data["key"] == ""


def test_the_other_events():
    assert events.sync_lost("eu", "refused") == Event(
        "salt/k8s_nodes/eu/sync/lost", {"cluster": "eu", "error": "refused"}
    )
    assert events.sync_restored("eu") == Event("salt/k8s_nodes/eu/sync/restored", {"cluster": "eu"})
    assert events.lagging("eu", 3) == Event(
        "salt/k8s_nodes/eu/lagging", {"cluster": "eu", "minions": 3}
    )
