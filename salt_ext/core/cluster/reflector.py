"""
Decides the next request to the Kubernetes API: a state machine without a socket and a clock.

The rules are client-go's: LIST in pages, then WATCH from the list's resourceVersion; resume from
the last version seen; list again when the server no longer has it; back off after errors.

.. code-block:: text

             +--------- 410 Gone, relist timer, request_list(), older version -----------+
             v                                                                            |
    ListPage -> ListPage -> ... -> Watch -> events, bookmarks -> ended, failed -> Watch --+
                                     |                                              ^
                                     +-> no bytes for timing:inactivity -> Probe ---+
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import Enum

from salt_ext.core.cluster.node import Node
from salt_ext.core.cluster.resource_version import is_older
from salt_ext.core.timing.backoff import Backoff


@dataclass(frozen=True, slots=True)
class ListPage:
    """Request one page of a LIST, never with a resourceVersion."""

    continue_token: str = ""


@dataclass(frozen=True, slots=True)
class Watch:
    """Open a WATCH from a version; the server ends it after ``server_timeout`` seconds."""

    resource_version: str
    server_timeout: int


@dataclass(frozen=True, slots=True)
class Probe:
    """Request the server's newest version, the cheapest request there is."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Send nothing until this time (monotonic seconds)."""

    until: float


Step = ListPage | Watch | Probe | Wait


class Change(str, Enum):
    """The type of a watch event."""

    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"


@dataclass(slots=True)
class Reflector:
    """
    Lists and watches the nodes of one cluster.

    The caller sends the request that :meth:`next` returns and reports its result. ``nodes`` is
    the newest complete view, None until the first LIST of this process is complete. Times are
    monotonic seconds.
    """

    relist_every: float
    rng: random.Random = field(default_factory=random.Random)
    nodes: dict[str, Node] | None = None
    resource_version: str = ""
    _backoff: Backoff = field(init=False)
    _pages: dict[str, Node] = field(default_factory=dict)
    _continue: str = ""
    _listing: bool = True
    _listed_at: float = 0.0
    _opened_at: float = 0.0
    _event_seen: bool = False
    _list_requested: bool = False
    _newest: dict[str, Node] = field(default_factory=dict)
    """Each node at its highest resourceVersion seen."""
    _regressed: set[str] = field(default_factory=set)
    """Names of nodes whose present version is lower than one seen before."""
    _accept_older_state: bool = False
    _idle: bool = False

    def __post_init__(self) -> None:
        self._backoff = Backoff(rng=self.rng)

    def next(self, now: float) -> Step:
        """Return the next request, or how long to wait."""
        if now < self._backoff.until:
            return Wait(self._backoff.until)
        if not self._listing and self.list_due(now):
            self._start_listing()
        if self._listing:
            if not self._continue:
                self._list_requested = False
            return ListPage(self._continue)
        if self._idle:
            return Probe()
        self._opened_at, self._event_seen = now, False
        return Watch(self.resource_version, self.rng.randint(300, 600))

    def listed(
        self, nodes: Iterable[Node], resource_version: str, continue_token: str, now: float
    ) -> bool:
        """Record one page; return True when it was the last and ``nodes`` is a new view."""
        self._pages.update((node.name, node) for node in nodes)
        self._continue = continue_token
        if continue_token:
            return False
        self.nodes, self._pages = self._pages, {}
        self._newest = {name: self._newest.get(name, node) for name, node in self.nodes.items()}
        self._regressed &= self.nodes.keys()
        for node in self.nodes.values():
            self._compare_version(node)
        self.resource_version = resource_version
        self._listing, self._listed_at, self._idle = False, now, False
        self._backoff.succeeded(now)
        return True

    def changed(self, change: Change, node: Node, resource_version: str, now: float) -> bool:
        """Record one watch event; return True when it changed a field that is used."""
        self._record_progress(resource_version, now)
        if self.nodes is None:
            return False
        if change is Change.DELETED:
            self._newest.pop(node.name, None)
            self._regressed.discard(node.name)
            return self.nodes.pop(node.name, None) is not None
        known = self.nodes.get(node.name)
        altered = known != node
        if known is not None and not altered:
            # Of a heartbeat, only the version is kept in memory.
            node = replace(known, version=node.version)
        self._compare_version(node)
        self.nodes[node.name] = node
        return altered

    def bookmarked(self, resource_version: str, now: float) -> None:
        """Record a bookmark: the version to resume from, without a change."""
        self._record_progress(resource_version, now)

    def request_list(self) -> None:
        """List again as soon as possible; safe to call from another thread."""
        self._list_requested = True

    @property
    def list_requested(self) -> bool:
        """Whether :meth:`request_list` was called since the last LIST began."""
        return self._list_requested

    def list_due(self, now: float) -> bool:
        """Whether another LIST is requested or due; the caller then ends an open watch."""
        return self._list_requested or now >= self._listed_at + self.relist_every

    def watch_idle(self) -> None:
        """Record that a watch was idle for too long: not an error, but a reason to probe."""
        self._idle = True

    def probed(self, version: str, now: float) -> None:
        """Record the server's newest version; a version older than the last seen means a LIST."""
        self._idle = False
        self._backoff.succeeded(now)
        if is_older(version, self.resource_version):
            self._start_listing()

    def ended(self, now: float) -> bool:
        """Record the regular end of a watch; return True when it counts as an error."""
        # Without this, a server or proxy that closes each watch at once gets 20 requests a second.
        at_once = not self._event_seen and now < self._opened_at + 1.0
        if at_once:
            self._backoff.failed(now)
        return at_once

    def failed(self, now: float, *, retry_after: float = 0.0) -> None:
        """Record an error of the transport or the server: the same request follows later."""
        self._backoff.failed(now, at_least=retry_after)
        if self._listing:
            self._start_listing()

    def expired(self, now: float) -> None:
        """Record "410 Gone": the server no longer has the version or the continue token."""
        # Without this, a server that drops versions at once gets 20 LISTs a second.
        if self._listing or now < self._listed_at + 5.0:
            self._backoff.failed(now)
        self._start_listing()

    @property
    def regressed(self) -> bool:
        """
        Whether some node has a lower version than was seen before.

        A server restored from an old state soon counts beyond the versions seen before, but its
        nodes are still the old ones.
        """
        return bool(self._regressed) and not self._accept_older_state

    def accept_older_state(self) -> None:
        """Accept the present nodes as the newest; safe to call from another thread."""
        self._accept_older_state = True

    @property
    def failures(self) -> int:
        """Consecutive errors."""
        return self._backoff.failures

    def _record_progress(self, resource_version: str, now: float) -> None:
        self._event_seen = True
        self.resource_version = resource_version
        self._backoff.succeeded(now)

    def _compare_version(self, node: Node) -> None:
        if self._accept_older_state:
            self._accept_older_state = False
            self._newest = dict(self.nodes or {})
            self._regressed.clear()
        known = self._newest.get(node.name)
        if known is not None and known.uid == node.uid and is_older(node.version, known.version):
            self._regressed.add(node.name)
        else:
            self._newest[node.name] = node
            self._regressed.discard(node.name)

    def _start_listing(self) -> None:
        self._listing = True
        self._continue = ""
        self._pages = {}
