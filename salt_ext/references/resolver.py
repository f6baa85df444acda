"""From a reference to addresses, over the store; what was read is kept while it is the newest."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator
from dataclasses import dataclass

from cachetools import LRUCache

from salt_ext.core.cluster.member import Limits
from salt_ext.core.cluster.snapshot import Snapshot
from salt_ext.core.config.clusters import Cluster
from salt_ext.core.config.config import Config
from salt_ext.core.errors import BadReference, StoreError
from salt_ext.core.references import node_lists, reference
from salt_ext.core.references.expand import Unresolved
from salt_ext.core.references.node_lists import ListedNode, node_list
from salt_ext.core.references.resolve import NodeGroup, resolve
from salt_ext.store import Store

_SNAPSHOTS = 32
_ANSWERS = 1024
_LISTS = 64

_Stamp = tuple[int, float]
"""A revision and when it was observed; the file may be a new one that counts from 1 again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _View:
    """What a reference to one cluster, or one of its groups, is answered from."""

    snapshot: Snapshot
    cluster: Cluster
    limits: Limits | None
    group: NodeGroup

    @property
    def stamp(self) -> _Stamp:
        return self.snapshot.revision, self.snapshot.observed_at


class Resolver:
    """Kept for the life of a process: Salt itself keeps nothing between two compiles."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._snapshots: LRUCache[str, Snapshot] = LRUCache(maxsize=_SNAPSHOTS)
        self._answers: LRUCache[tuple[str, _Stamp], tuple[str, ...]] = LRUCache(maxsize=_ANSWERS)
        self._lists: LRUCache[tuple[str, _Stamp], tuple[ListedNode, ...]] = LRUCache(maxsize=_LISTS)
        self._config: Config | None = None

    def addresses(self, text: str, config: Config) -> tuple[str, ...] | Unresolved:
        """Return what takes the place of a reference, or why it stays."""
        try:
            wanted = reference.parse(text)
            found = self._view(wanted.cluster, wanted.group, config)
        except (BadReference, StoreError) as exc:
            return Unresolved(str(exc))
        if isinstance(found, Unresolved):
            return found
        if (text, found.stamp) not in self._answers:
            self._answers[text, found.stamp] = resolve(
                found.snapshot, wanted, found.cluster.defaults, found.limits, found.group
            )
        return self._answers[text, found.stamp]

    def nodes(self, text: str, config: Config) -> tuple[ListedNode, ...] | Unresolved:
        """Return the nodes of a list that the configuration hands to a minion, or why not."""
        try:
            name, wanted = node_lists.parse(text)
            found = self._view(name, wanted.group, config)
        except (BadReference, StoreError) as exc:
            return Unresolved(str(exc))
        if isinstance(found, Unresolved):
            return found
        if (text, found.stamp) not in self._lists:
            self._lists[text, found.stamp] = node_list(
                found.snapshot, wanted, found.cluster.defaults, found.limits, found.group
            )
        return self._lists[text, found.stamp]

    def lines(self, text: str, config: Config) -> tuple[str, ...] | Unresolved:
        """Return what a minion that refers to this has of it, for comparison."""
        if not text.startswith(node_lists.SCHEME):
            return self.addresses(text, config)
        found = self.nodes(text, config)
        return found if isinstance(found, Unresolved) else tuple(map(str, found))

    def held(self, cluster: str) -> Snapshot:
        """Return the snapshot that the last answer for a cluster came from."""
        return self._snapshots[cluster]

    def _view(self, name: str, group: str | None, config: Config) -> _View | Unresolved:
        if config is not self._config:
            self._answers.clear()
            self._lists.clear()
            self._config = config
        if name not in config.names:
            known = ", ".join(config.names) or "none"
            return Unresolved(f"cluster {name!r} is not configured; configured: {known}")
        # With a mistake in its configuration, what was let through before stays in force.
        cluster = config.clusters.get(name) or config.broken[name]
        if cluster is None:
            return Unresolved(f"the configuration of cluster {name!r} has a mistake")
        if group is not None and group not in cluster.groups:
            known = ", ".join(cluster.groups) or "none"
            return Unresolved(f"cluster {name!r} has no group {group!r}; it has: {known}")
        stamp = self._store.snapshots.stamp(name)
        if not stamp[0]:
            return Unresolved(f"cluster {name!r} has never been listed completely")
        return _View(
            snapshot=self._snapshot(name, stamp),
            cluster=cluster,
            limits=cluster.limits if name in config.clusters else None,
            group=cluster.groups.get(group or "", NodeGroup()),
        )

    def _holds(self, name: str, stamp: _Stamp) -> bool:
        held = self._snapshots.get(name)
        return held is not None and (held.revision, held.observed_at) == stamp

    def _snapshot(self, name: str, stamp: _Stamp) -> Snapshot:
        if self._holds(name, stamp):
            return self._snapshots[name]
        with _no_collection():
            newest = self._store.snapshots.load(name)
        if newest is None:
            raise StoreError(f"the snapshot of {name!r} has gone")
        self._snapshots[name] = newest
        return newest


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """Keep Python from looking for garbage among thousands of values that are all in use."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
