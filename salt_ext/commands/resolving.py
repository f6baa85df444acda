"""From a reference to addresses, over the store; what was read is kept while it is the newest."""

from __future__ import annotations

from cachetools import LRUCache

from salt_ext.core import reference
from salt_ext.core.config import Config
from salt_ext.core.errors import BadReference, StoreError
from salt_ext.core.expand import Unresolved
from salt_ext.core.reference import Reference
from salt_ext.core.snapshot import NodeGroup, Snapshot, resolve
from salt_ext.store import Store

_SNAPSHOTS = 32
_ANSWERS = 1024

_Stamp = tuple[int, float]
"""A revision and when it was observed; the file may be a new one that counts from 1 again."""


class Resolving:
    """Kept for the life of a process: Salt itself keeps nothing between two compiles."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._snapshots: LRUCache[str, Snapshot] = LRUCache(maxsize=_SNAPSHOTS)
        self._answers: LRUCache[tuple[str, _Stamp], tuple[str, ...]] = LRUCache(maxsize=_ANSWERS)
        self._config: Config | None = None

    def addresses(self, text: str, config: Config) -> tuple[str, ...] | Unresolved:
        """Return what takes the place of a reference, or why it stays."""
        if config is not self._config:
            self._answers.clear()
            self._config = config
        try:
            return self._addresses(text, reference.parse(text), config)
        except (BadReference, StoreError) as exc:
            return Unresolved(str(exc))

    def held(self, cluster: str) -> Snapshot:
        """Return the snapshot that the last answer for a cluster came from."""
        return self._snapshots[cluster]

    def _addresses(
        self, text: str, wanted: Reference, config: Config
    ) -> tuple[str, ...] | Unresolved:
        name = wanted.cluster
        if name not in config.names:
            known = ", ".join(config.names) or "none"
            return Unresolved(f"cluster {name!r} is not configured; configured: {known}")
        # With a mistake in its configuration, what was let through before stays in force.
        cluster = config.clusters.get(name) or config.broken[name]
        if cluster is None:
            return Unresolved(f"the configuration of cluster {name!r} has a mistake")
        if wanted.group is not None and wanted.group not in cluster.groups:
            known = ", ".join(cluster.groups) or "none"
            return Unresolved(f"cluster {name!r} has no group {wanted.group!r}; it has: {known}")
        stamp = self._store.snapshots.stamp(name)
        if not stamp[0]:
            return Unresolved(f"cluster {name!r} has never been listed completely")
        if (text, stamp) in self._answers and self._holds(name, stamp):
            return self._answers[text, stamp]
        snapshot = self._snapshot(name, stamp)
        found = resolve(
            snapshot,
            wanted,
            cluster.defaults,
            cluster.limits if name in config.clusters else None,
            cluster.groups.get(wanted.group or "", NodeGroup()),
        )
        self._answers[text, (snapshot.revision, snapshot.observed_at)] = found
        return found

    def _holds(self, name: str, stamp: _Stamp) -> bool:
        held = self._snapshots.get(name)
        return held is not None and (held.revision, held.observed_at) == stamp

    def _snapshot(self, name: str, stamp: _Stamp) -> Snapshot:
        if self._holds(name, stamp):
            return self._snapshots[name]
        newest = self._store.snapshots.load(name)
        if newest is None:
            raise StoreError(f"the snapshot of {name!r} has gone")
        self._snapshots[name] = newest
        return newest
