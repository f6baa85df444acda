"""Keeps the store true to one cluster: admit, wait for quiet, compare, persist, then fire."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time

from salt_ext.core import events
from salt_ext.core.config import Cluster
from salt_ext.core.debounce import Debounce
from salt_ext.core.errors import StoreError
from salt_ext.core.membership import Difference, Membership, between
from salt_ext.core.snapshot import Snapshot
from salt_ext.master.bus import Bus
from salt_ext.service.updates import Dropped, Failed, Put, Replaced, Update, Watching
from salt_ext.store import Health, Store

log = logging.getLogger(__name__)

_TELL_EVERY = 5.0
"""Seconds between two words of health; ``status`` takes a longer silence for a dead engine."""
_STORE_AGAIN = 1.0
"""Seconds before a failed write to the store is tried again."""


class Keeper:
    """Runs in a thread of its own; nothing it does waits for the network."""

    def __init__(
        self,
        cluster: Cluster,
        store: Store,
        bus: Bus,
        updates: queue.Queue[Update],
        stop: threading.Event,
    ) -> None:
        self._cluster = cluster
        self._store = store
        self._bus = bus
        self._updates = updates
        self._stop = stop
        self._membership = Membership(cluster.limits)
        self._debounce = Debounce(cluster.timing.quiet, cluster.timing.longest)
        self._persisted: Snapshot | None = None
        self._identity = ""
        self._resource_version = ""
        self._health = Health(state="listing", told_at=0.0)
        self._tell_at = 0.0

    def run(self) -> None:
        """Keep until told to stop."""
        self._load()
        while not self._stop.is_set():
            now = time.monotonic()
            wake = min(self._tell_at, self._debounce.wake_at() or self._tell_at)
            with contextlib.suppress(queue.Empty):
                self._take(self._updates.get(timeout=max(0.0, wake - now)))
            now = time.monotonic()
            try:
                if self._debounce.due(now):
                    self._announce()
                    self._debounce.announced(now)
                if now >= self._tell_at:
                    self._tell(now)
            except StoreError as exc:
                log.error("%s: %s; trying again", self._cluster.name, exc)
                self._stop.wait(_STORE_AGAIN)

    def _load(self) -> None:
        """Read what was persisted; until it can be read, nothing can be compared with it."""
        while not self._stop.is_set():
            try:
                self._persisted = self._store.snapshots.load(self._cluster.name)
            except StoreError as exc:
                log.error("%s: %s; trying again", self._cluster.name, exc)
                self._stop.wait(_STORE_AGAIN)
            else:
                return

    def _take(self, update: Update) -> None:
        now = time.monotonic()
        health = self._health
        if isinstance(update, Failed):
            self._failed(update)
            return
        health.heard_at = time.time()
        if isinstance(update, Replaced):
            self._membership.replace(update.nodes)
            self._identity = update.identity
            self._resource_version = update.resource_version
            health.listed_at = health.heard_at
            self._debounce.changed(now)
            self._restored()
        elif isinstance(update, Put):
            self._membership.put(update.node)
            self._resource_version = update.resource_version
            self._debounce.changed(now)
        elif isinstance(update, Dropped):
            self._membership.drop(update.name)
            self._resource_version = update.resource_version
            self._debounce.changed(now)
        elif isinstance(update, Watching):
            health.ignored += bool(update.ignored)
        if health.lost_since:
            self._restored()

    def _failed(self, update: Failed) -> None:
        health = self._health
        health.state = "waiting"
        health.error, health.failures = update.error, update.failures
        if not health.lost_since:
            health.lost_since, health.in_sync_since = time.time(), 0.0
            log.warning(
                "%s: %s; the last known nodes stay in force, next try in %.1f s",
                self._cluster.name,
                update.error,
                update.retry_in,
            )
            self._fire(events.sync_lost(self._cluster.name, update.error))
        self._tell_at = 0.0

    def _restored(self) -> None:
        health = self._health
        if health.state == "watching":
            return
        if health.lost_since:
            log.warning(
                "%s: in sync again after %.0f s",
                self._cluster.name,
                time.time() - health.lost_since,
            )
            self._fire(events.sync_restored(self._cluster.name))
        health.state, health.in_sync_since, health.lost_since = "watching", time.time(), 0.0
        health.error, health.failures = "", 0
        self._tell_at = 0.0

    def _announce(self) -> None:
        old = self._persisted
        new = dict(self._membership.members)
        difference = between(old.members if old else {}, new)
        if old is not None and not difference:
            return
        snapshot = Snapshot(
            cluster=self._cluster.name,
            revision=(old.revision if old else 0) + 1,
            identity=self._identity,
            resource_version=self._resource_version,
            observed_at=time.time(),
            members=new,
        )
        self._store.snapshots.save(
            snapshot,
            put=[*difference.joined, *difference.updated],
            drop=[member.name for member in difference.left],
        )
        self._persisted = snapshot
        self._tell_at = 0.0
        self._log(snapshot, difference)
        for event in events.changed(snapshot, difference):
            self._fire(event)

    def _log(self, snapshot: Snapshot, difference: Difference) -> None:
        log.info(
            "%s: revision %d, %d nodes: +%d -%d nodes, +%d -%d addresses",
            snapshot.cluster,
            snapshot.revision,
            len(snapshot.members),
            len(difference.joined),
            len(difference.left),
            len(difference.added),
            len(difference.removed),
        )
        refused = self._membership.refused()
        if refused:
            log.warning(
                "%s: addresses that were not let through: %s",
                snapshot.cluster,
                ", ".join(f"{count} {why.value}" for why, count in refused.items()),
            )

    def _fire(self, event: events.Event) -> None:
        try:
            self._bus.fire(event.tag, event.data)
        except Exception:  # Salt raises whatever its transport does
            # The engine's timer finds whoever is behind, with or without this event.
            log.warning("%s: %s could not be fired", self._cluster.name, event.tag)
            log.debug("event", exc_info=True)

    def _tell(self, now: float) -> None:
        health = self._health
        health.told_at = time.time()
        health.nodes = len(self._membership.members)
        health.refused = {why.value: n for why, n in self._membership.refused().items()}
        self._store.health.tell(self._cluster.name, health)
        self._tell_at = now + _TELL_EVERY
