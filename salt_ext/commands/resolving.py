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


class Resolving:
    """Kept for the life of a process: Salt itself keeps nothing between two compiles."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._snapshots: LRUCache[str, Snapshot] = LRUCache(maxsize=_SNAPSHOTS)
        self._answers: LRUCache[tuple[str, int], tuple[str, ...]] = LRUCache(maxsize=_ANSWERS)
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
        revision = self._store.snapshots.revision(name)
        if not revision:
            return Unresolved(f"cluster {name!r} has never been listed completely")
        if (text, revision) in self._answers and self._holds(name, revision):
            return self._answers[text, revision]
        snapshot = self._snapshot(name, revision)
        found = resolve(
            snapshot,
            wanted,
            cluster.defaults,
            cluster.limits if name in config.clusters else None,
            cluster.groups.get(wanted.group or "", NodeGroup()),
        )
        self._answers[text, snapshot.revision] = found
        return found

    def _holds(self, name: str, revision: int) -> bool:
        held = self._snapshots.get(name)
        return held is not None and held.revision == revision

    def _snapshot(self, name: str, revision: int) -> Snapshot:
        if self._holds(name, revision):
            return self._snapshots[name]
        newest = self._store.snapshots.load(name)
        if newest is None:
            raise StoreError(f"the snapshot of {name!r} has gone")
        self._snapshots[name] = newest
        return newest
