"""
What to ask the Kubernetes API next: a state machine without a socket and without a clock.

The rules are client-go's: LIST in pages, then WATCH from the list's resourceVersion; resume from
the last version that was seen; list again when the server has forgotten it; back off on errors.
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
    """Ask for one page of a LIST, never with a resourceVersion."""

    continue_token: str = ""


@dataclass(frozen=True, slots=True)
class Watch:
    """Open a WATCH from a version, for at most ``server_timeout`` seconds."""

    resource_version: str
    server_timeout: int


@dataclass(frozen=True, slots=True)
class Probe:
    """Ask for the server's newest version, the cheapest question there is."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Do nothing until this time (monotonic seconds)."""

    until: float


Step = ListPage | Watch | Probe | Wait


class Change(str, Enum):
    """What a watch event says of a node."""

    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"


@dataclass(slots=True)
class Reflector:
    """
    Follows the nodes of one cluster.

    The caller does what :meth:`next` says and tells what came of it; ``nodes`` is then the newest
    complete view, or None while there has not been one in this process.
    """

    relist_every: float
    dice: random.Random = field(default_factory=random.Random)
    nodes: dict[str, Node] | None = None
    resource_version: str = ""
    _backoff: Backoff = field(init=False)
    _pages: dict[str, Node] = field(default_factory=dict)
    _continue: str = ""
    _listing: bool = True
    _listed_at: float = 0.0
    _opened_at: float = 0.0
    _heard: bool = False
    _asked: bool = False
    _newest: dict[str, Node] = field(default_factory=dict)
    """Of each node, what was told at its highest version."""
    _behind: set[str] = field(default_factory=set)
    _forgive: bool = False
    _silent: bool = False

    def __post_init__(self) -> None:
        self._backoff = Backoff(dice=self.dice)

    def next(self, now: float) -> Step:
        """Return what to do now."""
        if now < self._backoff.until:
            return Wait(self._backoff.until)
        if not self._listing and self.wants_list(now):
            self._start_listing()
        if self._listing:
            if not self._continue:
                self._asked = False
            return ListPage(self._continue)
        if self._silent:
            return Probe()
        self._opened_at, self._heard = now, False
        return Watch(self.resource_version, self.dice.randint(300, 600))

    def listed(
        self, nodes: Iterable[Node], resource_version: str, continue_token: str, now: float
    ) -> bool:
        """Take one page; True when it was the last, and ``nodes`` is a complete new view."""
        self._pages.update((node.name, node) for node in nodes)
        self._continue = continue_token
        if continue_token:
            return False
        self.nodes, self._pages = self._pages, {}
        self._newest = {name: self._newest.get(name, node) for name, node in self.nodes.items()}
        self._behind &= self.nodes.keys()
        for node in self.nodes.values():
            self._compare(node)
        self.resource_version = resource_version
        self._listing, self._listed_at, self._silent = False, now, False
        self._backoff.worked(now)
        return True

    def changed(self, change: Change, node: Node, resource_version: str, now: float) -> bool:
        """Take one watch event; True when it altered anything that we use."""
        self._alive(resource_version, now)
        if self.nodes is None:
            return False
        if change is Change.DELETED:
            self._newest.pop(node.name, None)
            self._behind.discard(node.name)
            return self.nodes.pop(node.name, None) is not None
        known = self.nodes.get(node.name)
        altered = known != node
        if known is not None and not altered:
            # A heartbeat leaves nothing behind in memory but its version.
            node = replace(known, version=node.version)
        self._compare(node)
        self.nodes[node.name] = node
        return altered

    def bookmarked(self, resource_version: str, now: float) -> None:
        """Take a bookmark: the version to resume from, without a change."""
        self._alive(resource_version, now)

    def ask(self) -> None:
        """List again as soon as can be; safe from another thread."""
        self._asked = True

    @property
    def asked(self) -> bool:
        """Whether somebody waits for another LIST, which an open watch would delay."""
        return self._asked

    def wants_list(self, now: float) -> bool:
        """Whether it is time for another LIST; an open watch that never ends would delay it."""
        return self._asked or now >= self._listed_at + self.relist_every

    def silent(self) -> None:
        """Take that nothing was heard on a watch for long: no alarm, but a reason to ask."""
        self._silent = True

    def probed(self, version: str, now: float) -> None:
        """Take the server's newest version; one older than ours means that all is listed anew."""
        self._silent = False
        self._backoff.worked(now)
        if is_older(version, self.resource_version):
            self._start_listing()

    def ended(self, now: float) -> bool:
        """Take the end of a watch that closed without an error; True when it counts as one."""
        # A server or proxy that closes each watch at once would be asked 20 times a second.
        at_once = not self._heard and now < self._opened_at + 1.0
        if at_once:
            self._backoff.failed(now)
        return at_once

    def failed(self, now: float, *, retry_after: float = 0.0) -> None:
        """Take an error of the transport or the server: the same again, later."""
        self._backoff.failed(now, at_least=retry_after)
        if self._listing:
            self._start_listing()

    def expired(self, now: float) -> None:
        """Take "410 Gone": the version or the continue token is forgotten; list from the start."""
        # Else a server that forgets what it has just told would be listed 20 times a second.
        if self._listing or now < self._listed_at + 5.0:
            self._backoff.failed(now)
        self._start_listing()

    @property
    def regressed(self) -> bool:
        """
        Whether some node is told as it was before what is known of it.

        A server that came back with an old state soon counts beyond the versions that were seen,
        but its nodes are still the old ones.
        """
        return bool(self._behind) and not self._forgive

    def forgive(self) -> None:
        """Take the nodes as they are told now for the newest; safe from another thread."""
        self._forgive = True

    @property
    def failures(self) -> int:
        """Errors since it last worked."""
        return self._backoff.failures

    def _alive(self, resource_version: str, now: float) -> None:
        self._heard = True
        self.resource_version = resource_version
        self._backoff.worked(now)

    def _compare(self, node: Node) -> None:
        if self._forgive:
            self._forgive = False
            self._newest = dict(self.nodes or {})
            self._behind.clear()
        known = self._newest.get(node.name)
        if known is not None and known.uid == node.uid and is_older(node.version, known.version):
            self._behind.add(node.name)
        else:
            self._newest[node.name] = node
            self._behind.discard(node.name)

    def _start_listing(self) -> None:
        self._listing = True
        self._continue = ""
        self._pages = {}
