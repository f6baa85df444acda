"""Puts the addresses of nodes into one minion's pillar: what the ext_pillar does."""

from __future__ import annotations

import logging
import time
from collections.abc import MutableMapping, Sequence
from typing import Any

from cachetools import LRUCache

from salt_ext.core import expand, reference
from salt_ext.core.config import KEY, Config
from salt_ext.core.errors import BadReference, StoreError
from salt_ext.core.expand import Expansion, Unresolved
from salt_ext.core.snapshot import Defaults, Snapshot, resolve
from salt_ext.store import Store

log = logging.getLogger(__name__)


class Serving:
    """Answers references from the store; kept for the life of a process, as Salt keeps nothing."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._snapshots: LRUCache[str, Snapshot] = LRUCache(maxsize=32)
        self._resolved: LRUCache[tuple[str, int, str, int], tuple[str, ...]] = LRUCache(maxsize=512)

    def snapshot(self, cluster: str) -> Snapshot | None:
        """Return the newest snapshot, from memory while its revision is still the newest."""
        revision = self._store.snapshots.revision(cluster)
        held = self._snapshots.get(cluster)
        if held is not None and held.revision == revision:
            return held
        newest = self._store.snapshots.load(cluster)
        if newest is not None:
            self._snapshots[cluster] = newest
        return newest

    def addresses(self, text: str, config: Config) -> Sequence[str] | Unresolved:
        """Return what takes the place of a reference, or why it stays."""
        try:
            wanted = reference.parse(text)
        except BadReference as exc:
            return Unresolved(str(exc))
        if wanted.cluster not in config.names:
            return Unresolved(
                f"cluster {wanted.cluster!r} is not configured; "
                f"configured: {', '.join(config.names) or 'none'}"
            )
        snapshot = self.snapshot(wanted.cluster)
        if snapshot is None:
            return Unresolved(f"cluster {wanted.cluster!r} has never been listed completely")
        # With a mistake in its configuration, what was let through before stays in force.
        cluster = config.clusters.get(wanted.cluster)
        key = (wanted.cluster, snapshot.revision, text, hash(cluster and cluster.limits))
        if key not in self._resolved:
            self._resolved[key] = resolve(
                snapshot,
                wanted,
                cluster.defaults if cluster else Defaults(),
                cluster.limits if cluster else None,
            )
        return self._resolved[key]

    def serve(
        self, minion: str, pillarenv: str, pillar: MutableMapping[str, Any], config: Config
    ) -> Expansion:
        """
        Replace the references of a pillar, in place, and record them.

        Never raises for a store that cannot be used: then the references stay as they are.
        """
        done = expand.expand(pillar, lambda text: self._answer(text, config))
        told = done.served or done.unresolved
        pillar.update(done.changed)
        if told:
            pillar[KEY] = {**_mapping(pillar.get(KEY)), **self._told(done)}
        for text, why in done.unresolved.items():
            log.warning("%s: %s stays in the pillar: %s", minion, text, why)
        try:
            self._store.subscriptions.record(minion, pillarenv, _clusters(done), time.time())
        except StoreError as exc:
            log.error(
                "%s: which clusters its pillar references could not be recorded, so that it is "
                "not told of changes until its pillar is compiled again: %s",
                minion,
                exc,
            )
        return done

    def _answer(self, text: str, config: Config) -> Sequence[str] | Unresolved:
        try:
            return self.addresses(text, config)
        except StoreError as exc:
            return Unresolved(str(exc))

    def _told(self, done: Expansion) -> dict[str, Any]:
        clusters = {}
        for name in sorted({reference.parse(text).cluster for text in done.served}):
            snapshot = self._snapshots[name]
            clusters[name] = {
                "revision": snapshot.revision,
                "observed_at": snapshot.observed_at,
            }
        served = sorted({address for found in done.served.values() for address in found})
        return {
            "clusters": clusters,
            "served": served,
            "unresolved": dict(sorted(done.unresolved.items())),
        }


def _clusters(done: Expansion) -> dict[str, tuple[str, bool]]:
    """Return each reference's cluster and whether it was resolved."""
    found = {text: (reference.parse(text).cluster, True) for text in done.served}
    for text in done.unresolved:
        try:
            found[text] = (reference.parse(text).cluster, False)
        except BadReference:
            found[text] = ("", False)
    return found


def _mapping(value: object) -> dict[str, Any]:
    return dict(value) if isinstance(value, dict) else {}


_kept: dict[str, Serving] = {}


def serving(config: Config) -> Serving:
    """Return what this process keeps for a state folder, made at the first call."""
    if config.state_dir not in _kept:
        _kept[config.state_dir] = Serving(Store(config.state_dir))
    return _kept[config.state_dir]
