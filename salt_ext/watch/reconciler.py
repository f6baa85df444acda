"""Keeps the store up to date with one cluster: admit, debounce, guard, diff, save, fire events."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Collection, Mapping
from typing import Protocol

from salt_ext.core import events
from salt_ext.core.cluster.diff import Baseline, Difference
from salt_ext.core.cluster.guard import Guard, View
from salt_ext.core.cluster.hold import Held, Kind
from salt_ext.core.cluster.member import Member
from salt_ext.core.cluster.membership import Membership
from salt_ext.core.cluster.refusal import KEYS
from salt_ext.core.cluster.sizes import SizeHistory
from salt_ext.core.cluster.snapshot import Snapshot
from salt_ext.core.config.clusters import Cluster
from salt_ext.core.errors import Overtaken, StoreError
from salt_ext.core.rollout import view_departures
from salt_ext.core.timing.debounce import Debounce
from salt_ext.store import Health, Store
from salt_ext.store.history import HistoryEntry
from salt_ext.supervisor import Heartbeat
from salt_ext.watch.held_changes import HeldChanges
from salt_ext.watch.refusals import RefusalReporter
from salt_ext.watch.sync_status import SyncStatus
from salt_ext.watch.updates import Deleted, Failed, Replaced, Update, Upserted, WatchCounters

log = logging.getLogger(__name__)

_REPORT_INTERVAL = 5.0
"""Seconds between two health reports; ``status`` takes a longer silence for a dead engine."""
_RELEASE_POLL_INTERVAL = 0.5
"""Seconds between two looks for an operator's confirmation while a change is held."""
_HANG_TIMEOUT = 60.0
"""Seconds for one turn of the loop after which this thread counts as hung."""
_REFUSALS_INTERVAL = 1.0
"""Seconds between two reports on refused addresses, however often a node changes them."""
_STORE_RETRY_DELAY = 1.0
"""Seconds before a failed access to the store is retried."""


class EventSink(Protocol):
    """Receives the events to fire."""

    def fire(self, tag: str, data: Mapping[str, object]) -> None:
        """Fire an event."""


class WatchControl(Protocol):
    """The part of a watcher that its reconciler uses."""

    counters: WatchCounters

    def request_list(self) -> None:
        """List again now."""

    def accept_older_state(self) -> None:
        """Accept the older state of the nodes as the newest."""


class ClusterReconciler:
    """Runs in its own thread; it never waits for the network."""

    def __init__(
        self,
        cluster: Cluster,
        store: Store,
        bus: EventSink,
        updates: queue.Queue[Update],
        stop: threading.Event,
        watcher: WatchControl,
    ) -> None:
        self._cluster = cluster
        self._name = cluster.name
        self._store = store
        self._bus = bus
        self._updates = updates
        self._stop = stop
        self._watcher = watcher
        self._list_again_at: float | None = None
        self._debounce = Debounce(cluster.timing.debounce, cluster.timing.max_delay)
        self._guard = Guard(rules=cluster.rules)
        self._held = HeldChanges(self._name, store, self._guard, self._fire)
        self._membership = Membership(limits=cluster.limits, grace=cluster.grace)
        self._sync_status = SyncStatus(self._name, self._fire)
        self._loaded = False
        self._snapshot: Snapshot | None = None
        """The snapshot in the store."""
        self._baseline = Baseline({})
        self._has_complete_view = False
        """Whether a LIST completed in this process; before that, single changes mean nothing."""
        self._identity = ""
        self._version = ""
        self._regressed = False
        """Whether some node has, at that version, a lower resourceVersion than before."""
        self._updates_applied = 0
        self._listed_at = 0.0
        self._deleted: set[str] = set()
        self._refusal_reporter = RefusalReporter(self._name, self._fire)
        self._refusals_at = 0.0
        """When refusals may be reported again."""
        self._judged_holds: tuple[Held, ...] = ()
        """What the guard held at the last judgement."""
        self._sizes_saved: SizeHistory | None = None
        self._frozen = False
        """Whether the guard holds the whole view."""
        self._report_at = 0.0
        self._last_event_at = 0.0
        """The watcher's ``last_event_at`` at the last report."""
        self.heartbeat = Heartbeat(_HANG_TIMEOUT)

    def run(self) -> None:
        """Apply updates until ``stop`` is set."""
        self._retry_store(self._load)
        while not self._stop.is_set():
            now = time.monotonic()
            with contextlib.suppress(queue.Empty):
                self._apply_update(self._updates.get(timeout=max(0.0, self._next_wakeup() - now)))
            self._retry_store(self._reconcile)
            self.heartbeat.beat()

    def apply_now(self, update: Replaced | Failed) -> None:
        """Apply one update without a thread; raises :class:`StoreError`."""
        stored = self._store.snapshots.revision(self._name)
        if not self._loaded or stored != (self._snapshot.revision if self._snapshot else 0):
            # The first time, or another process has listed since.
            self._load()
        self._sync_status.health.by = "ext_pillar"
        self._apply_update(update)
        now = time.monotonic()
        if isinstance(update, Replaced):
            self._judge_view(now)
            if self._held.take_decisions():
                self._judge_view(now)
            self._debounce.announced(now)
        if self._membership.has_news:
            self._report_refusals(now)
        self._report_health(now)

    def _retry_store(self, step: Callable[[], None]) -> None:
        """Run a step that uses the store until it succeeds; the view stays in memory meanwhile."""
        while not self._stop.is_set():
            try:
                step()
            except Overtaken:
                raise
            except StoreError as exc:
                log.error(
                    "cluster %s: %s; retrying in %.0f s [store-unavailable]",
                    self._name,
                    exc,
                    _STORE_RETRY_DELAY,
                )
                self.heartbeat.beat()
                self._stop.wait(_STORE_RETRY_DELAY)
            else:
                return

    def _load(self) -> None:
        """Load the state that an earlier process stored."""
        self._loaded = True
        self._snapshot = snapshot = self._store.snapshots.load(self._name)
        self._baseline = Baseline(snapshot.members if snapshot else {})
        if snapshot is not None:
            self._restore_members(snapshot)
            self._guard.accepted = View(
                members=snapshot.members,
                identity=snapshot.identity,
                version=snapshot.resource_version,
            )
        self._held.load()
        samples = self._store.sizes.load(self._name, time.time())
        self._guard.sizes.load(samples, time.monotonic())
        self._sync_status.resume(self._store.health.of(self._name))

    def _restore_members(self, snapshot: Snapshot) -> None:
        held = {change.kind: change.subjects for change in self._store.holds.of(self._name)}
        damped = held.get(Kind.FLAPPING.value, {})
        self._membership = Membership(limits=self._cluster.limits, grace=self._cluster.grace)
        self._membership.restore(snapshot.members, damped, time.monotonic())

    def _next_wakeup(self) -> float:
        times = (self._debounce.wake_at(), self._membership.next_expiry(), self._list_again_at)
        refusals_at = self._refusals_at if self._membership.has_news else self._report_at
        return min([self._report_at, refusals_at, *(at for at in times if at is not None)])

    def _apply_update(self, update: Update) -> None:
        """Apply an update to the view in memory."""
        now = time.monotonic()
        self._updates_applied += 1
        self._sync_status.apply_update(update)
        if isinstance(update, Replaced):
            self._has_complete_view = True
            self._membership.replace_all(update.nodes, now)
            self._deleted.difference_update(node.name for node in update.nodes)
            self._identity = update.identity
            self._listed_at = now
            self._list_again_at = None
            self._debounce.changed(now)
        elif isinstance(update, Upserted):
            # A node without an address opens nothing: it is stored with the next change. Neither
            # is an address that is refused or in its grace a change.
            if self._membership.put(update.node, now):
                self._debounce.changed(now)
            self._deleted.discard(update.node.name)
        elif isinstance(update, Deleted):
            self._membership.drop(update.name, now)
            self._deleted.add(update.name)
            self._debounce.changed(now)
        if isinstance(update, (Replaced, Upserted, Deleted)):
            self._version, self._regressed = update.resource_version, update.regressed

    def _reconcile(self) -> None:
        """Do what is due now: judge and save the view, request a LIST, report health."""
        now = time.monotonic()
        if self._membership.settle(now):
            self._debounce.changed(now)
        if self._membership.has_news and now >= self._refusals_at:
            self._report_refusals(now)
        if self._held.take_decisions():
            self._debounce.changed(now)
        if self._has_complete_view and self._debounce.due(now):
            self._judge_view(now)
            self._debounce.announced(now)
        if self._list_again_at is not None and now >= self._list_again_at:
            self._list_again_at = None
            self._watcher.request_list()
        if now >= self._report_at or self._sync_status.changed:
            self._report_health(now)

    def _judge_view(self, now: float) -> None:
        """Store the part of the newest view that the guard accepts."""
        view = View(
            members=self._membership.current(now),
            identity=self._identity,
            version=self._version,
            regressed=self._regressed,
        )
        judgement = self._guard.judge(
            view, now, listed_at=self._listed_at, deleted=frozenset(self._deleted)
        )
        self._judged_holds = judgement.held
        self._save_holds(judgement.held)
        self._list_again_at = judgement.list_again_at
        self._frozen = judgement.members is None
        if judgement.members is not None:
            self._publish(view, judgement.members)
            self._guard.accepted_view(view, judgement.members, now)
            if view.regressed:
                self._regressed = False
                self._watcher.accept_older_state()
            self._deleted &= judgement.members.keys()
        self._held.save_decisions()

    def _save_holds(self, judged: tuple[Held, ...]) -> None:
        if self._held.save((*judged, *self._membership.held())):
            self._sync_status.changed = True

    def _report_refusals(self, now: float) -> None:
        """Store and report at once what of a node is held or refused, once in a second."""
        self._refusals_at = now + _REFUSALS_INTERVAL
        if self._held.current is not None:
            self._save_holds(self._judged_holds)
        self._refusal_reporter.report(self._membership.take_news(), now)
        self._sync_status.changed = True

    def _publish(self, view: View, members: Mapping[str, Member]) -> None:
        """Save the accepted members as a new revision and fire its events, if they differ."""
        previous = self._snapshot
        difference = self._baseline.diff(members)
        if previous is not None and not difference and previous.identity == view.identity:
            return
        snapshot = Snapshot(
            cluster=self._name,
            revision=(previous.revision if previous else 0) + 1,
            identity=view.identity,
            resource_version=view.version,
            observed_at=time.time(),
            members=members,
        )
        self._store.snapshots.save(
            snapshot,
            put=[*difference.joined, *difference.updated],
            drop=[member.name for member in difference.left],
            departed=self._departed(previous, snapshot, difference),
            let_in_by=self._held.let_in_by(difference),
        )
        self._snapshot = snapshot
        self._baseline.advance(members, difference)
        for event in events.changed(snapshot, difference):
            self._fire(event)
        self._sync_status.changed = True
        self._record_change(snapshot, difference)

    def _departed(
        self, previous: Snapshot | None, snapshot: Snapshot, difference: Difference
    ) -> list[tuple[Collection[str], Mapping[str, str]]]:
        """Return the addresses that the new view takes from minions, to be written with it."""
        if previous is None or not (difference.left or difference.updated):
            return []
        subscribers = self._store.subscriptions.to_cluster(self._name)
        return [
            *view_departures.departed(subscribers, previous, snapshot, difference, self._cluster)
        ]

    def _record_change(self, snapshot: Snapshot, difference: Difference) -> None:
        log.info(
            "cluster %s: revision %d, %d nodes: +%d -%d nodes, +%d -%d addresses [nodes-changed]",
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
                    nodes=_names(difference),
                )
            )
            self._held.followed(difference, snapshot.revision)

    def _fire(self, event: events.Event) -> None:
        try:
            self._bus.fire(event.tag, event.data)
        except Exception as exc:  # Salt raises any exception of its transport
            # The engine's timer applies the change with or without this event.
            log.warning(
                "cluster %s: cannot fire event %s (%s) [event-not-fired]",
                self._name,
                event.tag,
                type(exc).__name__,
                exc_info=log.isEnabledFor(logging.DEBUG),
            )

    def _report_health(self, now: float) -> None:
        """Write health and the newest version to the store."""
        health, counters = self._sync_status.health, self._watcher.counters
        health.reported_at = time.time()
        health.events, health.ignored = counters.events, counters.ignored
        if counters.last_event_at != self._last_event_at:
            # Not the maximum of both: the clock may have been set back.
            self._last_event_at = health.heard_at = counters.last_event_at
        health.nodes = self._membership.node_count
        self._count_refused(health)
        self._store.health.report(self._name, health)
        if self._snapshot is not None:
            self._store.continuity.bind_first()
        # A person may have begun a new file of decisions.
        self._held.save_decisions()
        position = counters.position
        # While updates are still queued, the watch's version is ahead of the view in memory.
        if position.updates_queued == self._updates_applied and position.resource_version:
            self._version, self._regressed = position.resource_version, position.regressed
        if self._guard.sizes != self._sizes_saved:
            self._store.sizes.save(self._name, self._guard.sizes.samples(now), health.reported_at)
            self._sizes_saved = self._guard.sizes.copy()
        if self._snapshot is not None and self._has_complete_view and not self._frozen:
            self._guard.observed_version(self._version)
            self._store.snapshots.save_version(self._name, self._version)
        elif self._frozen:
            # An API server with an older state may have caught up by heartbeats alone.
            self._debounce.changed(now)
        self._sync_status.changed = False
        self._report_at = now + (_RELEASE_POLL_INTERVAL if self._held.current else _REPORT_INTERVAL)

    def _count_refused(self, health: Health) -> None:
        refused = self._membership.refused()
        health.refused = {reason.value: one.count for reason, one in refused.items()}
        health.refused_nodes = {reason.value: list(one.nodes) for reason, one in refused.items()}
        health.refused_keys = {reason.value: KEYS[reason] for reason in refused if reason in KEYS}


def _names(difference: Difference) -> frozenset[str]:
    changed = (*difference.joined, *difference.left, *difference.updated)
    return frozenset(member.name for member in changed)
