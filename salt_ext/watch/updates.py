"""What the thread that follows an API server tells the thread that keeps the store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from salt_ext.core.cluster.node import Node


@dataclass(frozen=True, slots=True)
class Replaced:
    """A complete new view."""

    nodes: Sequence[Node]
    resource_version: str
    identity: str
    regressed: bool = False
    """Some node is told as it was before what is known of it."""


@dataclass(frozen=True, slots=True)
class Upserted:
    """One node is new or changed."""

    node: Node
    resource_version: str
    regressed: bool = False


@dataclass(frozen=True, slots=True)
class Deleted:
    """One node is gone."""

    name: str
    resource_version: str
    regressed: bool = False


@dataclass(frozen=True, slots=True)
class WatchOpened:
    """The watch is open."""


@dataclass(frozen=True, slots=True)
class Failed:
    """A request failed; the next follows at ``retry_in`` seconds from now."""

    error: str
    failures: int
    retry_in: float


@dataclass(slots=True)
class WatchCounters:
    """
    What the watch said, counted where it is heard and read by the other thread now and then.

    Heartbeats, nearly all there is, must cost nothing more than their own decoding.
    """

    events: int = 0
    ignored: int = 0
    at: float = 0.0
    """Seconds since the epoch."""
    newest: tuple[int, str, bool] = (0, "", False)
    """
    The newest version, whether some node is told as it was before, and, first, how many updates had
    been passed on by then: a version that is ahead of the updates says nothing of those taken. One
    tuple, so that it is read as a whole.
    """

    @property
    def resource_version(self) -> str:
        """The newest version that was heard of."""
        return self.newest[1]


Update = Replaced | Upserted | Deleted | WatchOpened | Failed
