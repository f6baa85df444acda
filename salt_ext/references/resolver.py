"""Look references up in the store; what was read is cached while it is the newest."""

from __future__ import annotations

import contextlib
import gc
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass

from cachetools import LRUCache

from salt_ext.core.cluster.member import Limits
from salt_ext.core.cluster.snapshot import Snapshot
from salt_ext.core.config.clusters import Cluster
from salt_ext.core.config.config import Config
from salt_ext.core.errors import BadReference, StoreError
from salt_ext.core.references import node_lists, reference
from salt_ext.core.references.node_lists import NodeListRule, node_list
from salt_ext.core.references.reference import Reference
from salt_ext.core.references.resolution import Resolution, SnapshotStamp, Unresolved
from salt_ext.core.references.resolve import NodeGroup, resolve
from salt_ext.references.node_lists import NodeList
from salt_ext.store import Store

_SNAPSHOTS = 32
_RESOLUTIONS = 1024
_NODE_LISTS = 64
_STORES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class _View:
    """What a reference to one cluster, or to one of its groups, is resolved from."""

    snapshot: Snapshot
    stamp: SnapshotStamp
    cluster: Cluster
    limits: Limits | None
    group: NodeGroup


class Resolver:
    """
    Resolves references from one store, for all threads of a process.

    :func:`shared_resolver` returns the one of this process: Salt itself keeps nothing between two
    compiles, and the runner is called anew for each event.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._config: Config | None = None
        self._snapshots: LRUCache[str, Snapshot] = LRUCache(maxsize=_SNAPSHOTS)
        self._resolutions: LRUCache[tuple[str, SnapshotStamp], Resolution] = LRUCache(
            maxsize=_RESOLUTIONS
        )
        self._node_lists: LRUCache[tuple[str, SnapshotStamp], NodeList] = LRUCache(
            maxsize=_NODE_LISTS
        )

    def resolve(self, wanted: Reference, config: Config) -> Resolution | Unresolved:
        """Return the addresses of a reference, or why it has none."""
        with self._exclusive():
            view = self._view(wanted.cluster, wanted.group, config)
            if isinstance(view, Unresolved):
                return view
            key = wanted.text, view.stamp
            if key not in self._resolutions:
                addresses = resolve(
                    view.snapshot, wanted, view.cluster.defaults, view.limits, view.group
                )
                self._resolutions[key] = Resolution(addresses, view.stamp)
            return self._resolutions[key]

    def node_list(self, cluster: str, rule: NodeListRule, config: Config) -> NodeList | Unresolved:
        """Return the nodes of a list that the configuration gives to a minion, or why not."""
        with self._exclusive():
            view = self._view(cluster, rule.group, config)
            if isinstance(view, Unresolved):
                return view
            key = rule.text(cluster), view.stamp
            if key not in self._node_lists:
                nodes = node_list(
                    view.snapshot, rule, view.cluster.defaults, view.limits, view.group
                )
                self._node_lists[key] = NodeList(cluster, nodes, view.stamp)
            return self._node_lists[key]

    def addresses(self, text: str, config: Config) -> tuple[str, ...] | Unresolved:
        """Return the addresses of a reference as it is written, or why it has none."""
        try:
            wanted = reference.parse(text)
        except BadReference as exc:
            return Unresolved(str(exc))
        resolution = self.resolve(wanted, config)
        return resolution if isinstance(resolution, Unresolved) else resolution.addresses

    def lines(self, text: str, config: Config) -> tuple[str, ...] | Unresolved:
        """Return what a minion with this reference or node list gets from it, for comparison."""
        if not text.startswith(node_lists.SCHEME):
            return self.addresses(text, config)
        listed = self.node_list(*node_lists.parse(text), config)
        return listed if isinstance(listed, Unresolved) else tuple(map(str, listed.nodes))

    @contextlib.contextmanager
    def _exclusive(self) -> Iterator[None]:
        # A fork may have copied the lock while a thread held it that the child does not have.
        if self._pid != os.getpid():
            self._begin()
        with self._lock:
            yield

    def _view(self, name: str, group: str | None, config: Config) -> _View | Unresolved:
        if config is not self._config:
            self._resolutions.clear()
            self._node_lists.clear()
            self._config = config
        if name not in config.names:
            known = ", ".join(config.names) or "none"
            return Unresolved(f"cluster {name!r} is not configured; configured: {known}")
        # With a mistake in the configuration, what is stored stays in force.
        cluster = config.clusters.get(name) or config.broken[name]
        if cluster is None:
            return Unresolved(config.why_stopped(name))
        if group is not None and group not in cluster.groups:
            known = ", ".join(cluster.groups) or "none"
            return Unresolved(f"cluster {name!r} has no group {group!r}; its groups: {known}")
        try:
            stamp = SnapshotStamp(*self._store.snapshots.stamp(name))
            if not stamp.revision:
                return Unresolved(f"cluster {name!r} has never been listed completely")
            snapshot = self._snapshot(name, stamp)
        except StoreError as exc:
            return Unresolved(str(exc))
        return _View(
            snapshot=snapshot,
            stamp=SnapshotStamp(snapshot.revision, snapshot.observed_at),
            cluster=cluster,
            limits=cluster.limits,
            group=cluster.groups.get(group or "", NodeGroup()),
        )

    def _snapshot(self, name: str, stamp: SnapshotStamp) -> Snapshot:
        cached = self._snapshots.get(name)
        if cached is not None and (cached.revision, cached.observed_at) == stamp:
            return cached
        with _no_garbage_collection():
            newest = self._store.snapshots.load(name)
        if newest is None:
            raise StoreError(f"the snapshot of {name!r} has gone")
        self._snapshots[name] = newest
        return newest


_shared: LRUCache[str, Resolver] = LRUCache(maxsize=_STORES)
_shared_lock = threading.Lock()


def shared_resolver(store: Store) -> Resolver:
    """Return the resolver of a store that this process shares, made at the first call."""
    key = str(store.database.path)
    with _shared_lock:
        if key not in _shared:
            _shared[key] = Resolver(store)
        return _shared[key]


def _unlock_after_fork() -> None:
    global _shared_lock
    _shared_lock = threading.Lock()


os.register_at_fork(after_in_child=_unlock_after_fork)


@contextlib.contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Keep Python from looking for garbage among thousands of new values that are all in use."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
