"""Messages from a cluster's watcher to its reconciler, through a queue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from salt_ext.core.cluster.node import Node


@dataclass(frozen=True, slots=True)
class Replaced:
    """A complete new view, from a LIST."""

    nodes: Sequence[Node]
    resource_version: str
    identity: str
    """The uid of the cluster's ``kube-system`` namespace."""
    regressed: bool = False
    """Some node has a lower resourceVersion than was seen before."""


@dataclass(frozen=True, slots=True)
class Upserted:
    """One node is new or changed."""

    node: Node
    resource_version: str
    regressed: bool = False


@dataclass(frozen=True, slots=True)
class Deleted:
    """One node was deleted."""

    name: str
    resource_version: str
    regressed: bool = False


@dataclass(frozen=True, slots=True)
class WatchOpened:
    """The watch is open."""


@dataclass(frozen=True, slots=True)
class Failed:
    """A request failed; the next one follows in ``retry_in`` seconds."""

    error: str
    failures: int
    """Consecutive failures, this one included."""
    retry_in: float


class WatchPosition(NamedTuple):
    """How far the watch has read."""

    updates_queued: int
    """Updates queued until then: the version belongs to the view after that many updates."""
    resource_version: str
    regressed: bool


@dataclass(slots=True)
class WatchCounters:
    """
    Counters of one watch, written by the watcher and read by the reconciler every few seconds.

    Heartbeats are nearly all events, so one must cost little more than its decoding.
    """

    events: int = 0
    ignored: int = 0
    """Lines that could not be read."""
    last_event_at: float = 0.0
    """Seconds since the epoch."""
    position: WatchPosition = WatchPosition(0, "", regressed=False)
    """Always replaced as a whole, so that the other thread reads matching values."""


Update = Replaced | Upserted | Deleted | WatchOpened | Failed
