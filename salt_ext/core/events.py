"""
The events on Salt's bus, of bounded size, for this extension's reactor and for users' own.

An event is a hint. The reactor reads from it only which cluster changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from salt_ext.core.cluster.address import Address, Network
from salt_ext.core.cluster.diff import Difference
from salt_ext.core.cluster.hold import Held
from salt_ext.core.cluster.member import Member
from salt_ext.core.cluster.refusal import KEYS, Refusal
from salt_ext.core.cluster.snapshot import Snapshot

MAX_ADDRESSES = 100
"""Addresses in one event; with more, ``truncated`` is true."""
MAX_NODES = 100
"""Node events for one change."""


@dataclass(frozen=True, slots=True)
class Event:
    """A tag and its data, in JSON types."""

    tag: str
    data: dict[str, object]


def changed(snapshot: Snapshot, difference: Difference) -> Iterator[Event]:
    """Yield the events of one new revision; the first is the one that the reactor acts on."""
    yield Event(
        _tag(snapshot.cluster, "changed"),
        {
            "cluster": snapshot.cluster,
            "revision": snapshot.revision,
            "added": _texts(difference.added[:MAX_ADDRESSES]),
            "removed": _texts(difference.removed[:MAX_ADDRESSES]),
            "truncated": max(len(difference.added), len(difference.removed)) > MAX_ADDRESSES,
            "nodes": len(snapshot.members),
        },
    )
    changes = [
        *(("joined", member) for member in difference.joined),
        *(("left", member) for member in difference.left),
        *(("updated", member) for member in difference.updated),
    ]
    for what, member in changes[:MAX_NODES]:
        yield Event(
            _tag(snapshot.cluster, f"node/{what}"),
            {
                "cluster": snapshot.cluster,
                "revision": snapshot.revision,
                "node": member.name,
                "addresses": _addresses(member),
            },
        )


def sync_lost(cluster: str, error: str) -> Event:
    """Return the event that contact with a cluster was lost."""
    return Event(_tag(cluster, "sync/lost"), {"cluster": cluster, "error": error})


def sync_restored(cluster: str) -> Event:
    """Return the event that a cluster is watched again."""
    return Event(_tag(cluster, "sync/restored"), {"cluster": cluster})


def refused(cluster: str, refusal: Refusal) -> Event:
    """Return the event that something of a node is not let in; ``key`` is empty without one."""
    return Event(
        _tag(cluster, "refused"),
        {
            "cluster": cluster,
            "node": refusal.node,
            "reason": refusal.reason.value,
            "count": refusal.count,
            "examples": list(refusal.examples),
            "key": KEYS.get(refusal.reason, ""),
        },
    )


def lagging(cluster: str, minions: int) -> Event:
    """Return the event that a number of minions is out of date and due."""
    return Event(_tag(cluster, "lagging"), {"cluster": cluster, "minions": minions})


def departure_open(
    cluster: str, *, addresses: list[str], minions: list[str], open_by: str, seconds: float
) -> Event:
    """Return the event that addresses have left, and can still get in after a long time."""
    return Event(
        _tag(cluster, "departure/open"),
        {
            "cluster": cluster,
            "addresses": addresses[:MAX_ADDRESSES],
            "minions": minions[:MAX_NODES],
            "truncated": len(addresses) > MAX_ADDRESSES or len(minions) > MAX_NODES,
            "open_by": open_by,
            "seconds": round(seconds),
        },
    )


def held(cluster: str, change: Held, effect: str) -> Event:
    """Return the event of a change that a guard holds; ``effect`` is what its release would do."""
    return Event(
        _tag(cluster, "held"),
        {
            "cluster": cluster,
            "what": change.kind.value,
            "why": change.why,
            "names": sorted(change.keys)[:MAX_NODES],
            "effect": effect,
            "token": change.token if change.kind.confirmable else None,
        },
    )


def _tag(cluster: str, what: str) -> str:
    return f"salt/k8s_nodes/{cluster}/{what}"


def _texts(items: tuple[Address | Network, ...]) -> list[str]:
    return [str(item) for item in items]


def _addresses(member: Member) -> dict[str, list[str]]:
    return {kind.value: _texts(items[:10]) for kind, items in member.addresses.items()}
