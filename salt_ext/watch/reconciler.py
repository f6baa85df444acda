"""Keeps the store true to a cluster: admit, wait for quiet, guard, compare, persist, then fire."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from salt_ext.core import events
from salt_ext.core.cluster.diff import Baseline, Difference
from salt_ext.core.cluster.guard import Guard, Held, Kind, View
from salt_ext.core.cluster.member import Member
from salt_ext.core.cluster.membership import Membership
from salt_ext.core.cluster.snapshot import Snapshot
from salt_ext.core.config.clusters import Cluster
from salt_ext.core.errors import Overtaken, StoreError
from salt_ext.core.timing.debounce import Debounce
from salt_ext.store import Store
from salt_ext.store.history import HistoryEntry
from salt_ext.supervisor import Heartbeat
from salt_ext.watch.sync_status import SyncStatus
from salt_ext.watch.updates import Deleted, Failed, Replaced, Update, Upserted, WatchCounters

log = logging.getLogger(__name__)

_TELL_EVERY = 5.0
"""Seconds between two words of health; ``status`` takes a longer silence for a dead engine."""
_LOOK_FOR_RELEASE = 0.5
"""Seconds between two looks for a person's word while something is held."""
_PATIENCE = 60.0
"""Seconds without coming round after which this thread counts as hung."""
_STORE_AGAIN = 1.0
"""Seconds before a failed write to the store is tried again."""


class EventSink(Protocol):
    """Where events go."""

    def fire(self, tag: str, data: Mapping[str, Any]) -> None:
        """Fire an event."""


class WatchControl(Protocol):
    """The other thread of a cluster, as far as this one speaks to it."""

    heard: WatchCounters

    def list_again(self) -> None:
        """Ask for a LIST now."""

    def forgive(self) -> None:
        """Take an older state for the truth."""


class ClusterReconciler:
    """Runs in a thread of its own; nothing it does waits for the network."""

    def __init__(
        self,
        cluster: Cluster,
        store: Store,
        bus: EventSink,
        updates: queue.Queue[Update],
        stop: threading.Event,
        follower: WatchControl,
    ) -> None:
        self._cluster = cluster
        self._name = cluster.name
        self._store = store
        self._bus = bus
        self._updates = updates
        self._stop = stop
        self._follower = follower
        self._list_again_at: float | None = None
        self._debounce = Debounce(cluster.timing.debounce, cluster.timing.max_delay)
        self._guard = Guard(rules=cluster.rules)
        self._membership = Membership(limits=cluster.limits, grace=cluster.grace)
        self._condition = SyncStatus(self._name, self._fire)
        self._persisted: Snapshot | None = None
        self._announced = Baseline({})
        self._complete = False
        """Whether a complete view came in this process; before, a change means nothing."""
        self._identity = ""
        self._version = ""
        self._regressed = False
        """Whether, at that version, some node was told as it was before."""
        self._taken = 0
        """Updates that were taken."""
        self._listed_at = 0.0
        self._deleted: set[str] = set()
        self._held: tuple[Held, ...] | None = None
        """None until it is known whether what was held before this process still is."""
        self._frozen = False
        self._tell_at = 0.0
        self._heard_at = 0.0
        """When the follower had heard something, at the last look."""
        self.pulse = Heartbeat(_PATIENCE)

    def run(self) -> None:
        """Keep until told to stop."""
        self._retrying(self._load)
        while not self._stop.is_set():
            now = time.monotonic()
            with contextlib.suppress(queue.Empty):
                self._take(self._updates.get(timeout=max(0.0, self._wake_at() - now)))
            self._retrying(self._work)
            self.pulse.beat()

    def take_at_once(self, update: Replaced | Failed) -> None:
        """Take one update without a thread: guard, persist, and tell, or raise."""
        stored = self._store.snapshots.revision(self._name)
        if stored != (self._persisted.revision if self._persisted else 0):
            # Another process has listed since.
            self._load()
        self._condition.health.by = "ext_pillar"
        self._take(update)
        now = time.monotonic()
        if self._store.holds.of(self._name):
            self._take_releases(now)
        if isinstance(update, Replaced):
            self._judge(now)
            self._debounce.announced(now)
        self._tell(now)

    def _retrying(self, do: Callable[[], None]) -> None:
        """Do something with the store until it works; what is known stays in memory meanwhile."""
        while not self._stop.is_set():
            try:
                do()
            except Overtaken:
                raise
            except StoreError as exc:
                log.error("%s: %s; trying again", self._name, exc)
                self.pulse.beat()
                self._stop.wait(_STORE_AGAIN)
            else:
                return

    def _load(self) -> None:
        self._persisted = kept = self._store.snapshots.load(self._name)
        self._announced = Baseline(kept.members if kept else {})
        if kept is not None:
            self._membership.current_claims = dict(kept.members)
            self._guard.accepted = View(
                members=kept.members, identity=kept.identity, version=kept.resource_version
            )
        held = {change.kind: change.keys for change in self._store.holds.of(self._name)}
        self._guard.rollback_before_restart = Kind.ROLLBACK.value in held
        self._guard.returned = frozenset(held.get(Kind.RETURNED.value, ()))
        self._guard.rollback_seen = (
            self._guard.rollback_before_restart or Kind.VANISHED.value in held
        )
        self._condition.resume(self._store.health.of(self._name))

    def _wake_at(self) -> float:
        times = (self._debounce.wake_at(), self._membership.next_expiry(), self._list_again_at)
        return min([self._tell_at, *(at for at in times if at is not None)])

    def _take(self, update: Update) -> None:
        now = time.monotonic()
        self._taken += 1
        self._condition.take(update)
        if isinstance(update, Replaced):
            self._complete = True
            self._membership.replace_all(update.nodes, now)
            self._deleted.difference_update(node.name for node in update.nodes)
            self._identity = update.identity
            self._listed_at = now
            self._list_again_at = None
            self._debounce.changed(now)
        elif isinstance(update, Upserted):
            # A node without an address opens nothing: it is stored with the next change.
            if self._membership.put(update.node, now):
                self._debounce.changed(now)
            self._deleted.discard(update.node.name)
        elif isinstance(update, Deleted):
            self._membership.drop(update.name)
            self._deleted.add(update.name)
            self._debounce.changed(now)
        if isinstance(update, (Replaced, Upserted, Deleted)):
            self._version, self._regressed = update.resource_version, update.regressed

    def _work(self) -> None:
        now = time.monotonic()
        fades_at = self._membership.next_expiry()
        if fades_at is not None and now >= fades_at:
            self._debounce.changed(now)
        if self._held:
            self._take_releases(now)
        if self._complete and self._debounce.due(now):
            self._judge(now)
            self._debounce.announced(now)
        if self._list_again_at is not None and now >= self._list_again_at:
            self._list_again_at = None
            self._follower.list_again()
        if now >= self._tell_at or self._condition.turned:
            self._tell(now)

    def _judge(self, now: float) -> None:
        """Store what may be stored of the newest view."""
        view = View(
            members=self._membership.current(now),
            identity=self._identity,
            version=self._version,
            regressed=self._regressed,
        )
        judgement = self._guard.judge(
            view, now, listed_at=self._listed_at, deleted=frozenset(self._deleted)
        )
        self._hold((*judgement.held, *self._membership.held()))
        self._list_again_at = judgement.list_again_at
        self._frozen = judgement.members is None
        if judgement.members is not None:
            self._announce(view, judgement.members)
            self._guard.accepted_view(view, judgement.members, now)
            if view.regressed:
                self._regressed = False
                self._follower.forgive()
            self._deleted &= judgement.members.keys()

    def _hold(self, held: tuple[Held, ...]) -> None:
        if held == self._held:
            return
        self._store.holds.replace(self._name, held, time.time())
        for one in held:
            if one not in (self._held or ()):
                cure = f"salt-run k8s_nodes.confirm {self._name} to let it through"
                if one.kind is Kind.NODE:
                    cure = "only its kubelet can end that"
                log.error(
                    "%s: held (%s): %s; see salt-run k8s_nodes.status, and %s",
                    *(self._name, one.kind.value, one.why, cure),
                )
        self._held = held
        self._condition.turned = True

    def _take_releases(self, now: float) -> None:
        releases = self._store.holds.releases(self._name)
        since = (
            {one.kind: one.since for one in self._store.holds.of(self._name)} if releases else {}
        )
        for release in releases:
            for change in release.changes:
                # A word that came when its change was over must not reach the next of its kind.
                if since.get(change.kind) == change.since:
                    self._guard.release(Kind(change.kind), frozenset(change.keys))
                    log.warning("%s: %s released: %s", self._name, release.by, change.why)
            self._store.holds.delete_release(release)
            self._debounce.changed(now)

    def _announce(self, view: View, members: Mapping[str, Member]) -> None:
        old = self._persisted
        difference = self._announced.diff(members)
        if old is not None and not difference and old.identity == view.identity:
            return
        snapshot = Snapshot(
            cluster=self._name,
            revision=(old.revision if old else 0) + 1,
            identity=view.identity,
            resource_version=view.version,
            observed_at=time.time(),
            members=members,
        )
        self._store.snapshots.save(
            snapshot,
            put=[*difference.joined, *difference.updated],
            drop=[member.name for member in difference.left],
        )
        self._persisted = snapshot
        self._announced.advance(members, difference)
        for event in events.changed(snapshot, difference):
            self._fire(event)
        self._condition.turned = True
        self._record(snapshot, difference)

    def _record(self, snapshot: Snapshot, difference: Difference) -> None:
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
        with contextlib.suppress(StoreError):
            self._store.history.record(
                HistoryEntry(
                    at=snapshot.observed_at,
                    cluster=snapshot.cluster,
                    what="changed",
                    detail=next(events.changed(snapshot, difference)).data,
                )
            )

    def _fire(self, event: events.Event) -> None:
        try:
            self._bus.fire(event.tag, event.data)
        except Exception:  # Salt raises whatever its transport does
            # The engine's timer finds whoever is behind, with or without this event.
            log.warning("%s: %s could not be fired", self._name, event.tag)
            log.debug("event", exc_info=True)

    def _tell(self, now: float) -> None:
        health, heard = self._condition.health, self._follower.heard
        health.reported_at = time.time()
        health.events, health.ignored = heard.events, heard.ignored
        if heard.at != self._heard_at:
            # Not the later of the two: the clock may have been set back.
            self._heard_at = health.heard_at = heard.at
        health.nodes = len(self._membership.current_claims)
        health.refused = {why.value: n for why, n in self._membership.rejected().items()}
        self._store.health.report(self._name, health)
        passed, version, regressed = heard.newest
        # With an update still on its way, the version is that of a view which is not here yet.
        if passed == self._taken and version:
            self._version, self._regressed = version, regressed
        if self._persisted is not None and self._complete and not self._frozen:
            self._guard.observed_version(self._version)
            self._store.snapshots.save_version(self._name, self._version)
        elif self._frozen:
            # An API server that told an old state may have caught up, by heartbeats alone.
            self._debounce.changed(now)
        self._condition.turned = False
        self._tell_at = now + (_LOOK_FOR_RELEASE if self._held else _TELL_EVERY)
