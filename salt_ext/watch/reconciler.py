"""Keeps the store up to date with one cluster: admit, debounce, guard, diff, save, fire events."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Collection, Mapping
from typing import Protocol

import msgspec

from salt_ext.core import events
from salt_ext.core.cluster.diff import Baseline, Difference
from salt_ext.core.cluster.guard import Guard, View
from salt_ext.core.cluster.hold import Held, Kind
from salt_ext.core.cluster.member import Member
from salt_ext.core.cluster.membership import Membership
from salt_ext.core.cluster.sizes import SizeHistory
from salt_ext.core.cluster.snapshot import Snapshot
from salt_ext.core.config.clusters import Cluster
from salt_ext.core.errors import Overtaken, StoreError
from salt_ext.core.rollout import view_departures
from salt_ext.core.timing.debounce import Debounce
from salt_ext.store import Store
from salt_ext.store.decisions import ClusterDecisions, UnusableDecisions
from salt_ext.store.history import HistoryEntry
from salt_ext.supervisor import Heartbeat
from salt_ext.watch.sync_status import SyncStatus
from salt_ext.watch.updates import Deleted, Failed, Replaced, Update, Upserted, WatchCounters

log = logging.getLogger(__name__)

_REPORT_INTERVAL = 5.0
"""Seconds between two health reports; ``status`` takes a longer silence for a dead engine."""
_RELEASE_POLL_INTERVAL = 0.5
"""Seconds between two looks for an operator's confirmation while a change is held."""
_HANG_TIMEOUT = 60.0
"""Seconds for one turn of the loop after which this thread counts as hung."""
_TELL_INTERVAL = 60.0
"""Seconds between two messages on one held change whose nodes go on to change."""
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
        self._membership = Membership(limits=cluster.limits, grace=cluster.grace)
        self._sync_status = SyncStatus(self._name, self._fire)
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
        self._holds: tuple[Held, ...] | None = None
        """The held changes; None until this process has judged a view."""
        self._told: dict[tuple[Kind, bool], tuple[str, float]] = {}
        """The token of each held change that was logged and fired, and when."""
        self._decided = ClusterDecisions()
        """What the file of decisions says, as this process read or wrote it last."""
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
        if stored != (self._snapshot.revision if self._snapshot else 0):
            # Another process has listed since.
            self._load()
        self._sync_status.health.by = "ext_pillar"
        self._apply_update(update)
        now = time.monotonic()
        if isinstance(update, Replaced):
            self._judge_view(now)
            if self._take_decisions(now):
                self._judge_view(now)
            self._debounce.announced(now)
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
        self._snapshot = snapshot = self._store.snapshots.load(self._name)
        self._baseline = Baseline(snapshot.members if snapshot else {})
        if snapshot is not None:
            self._membership.current_claims = dict(snapshot.members)
            self._guard.accepted = View(
                members=snapshot.members,
                identity=snapshot.identity,
                version=snapshot.resource_version,
            )
        self._load_guard()
        self._sync_status.resume(self._store.health.of(self._name))

    def _load_guard(self) -> None:
        """Load what the guard knew, and what persons decided."""
        held = {change.kind: change.keys for change in self._store.holds.of(self._name)}
        self._guard.rollback_before_restart = Kind.ROLLBACK.value in held
        self._guard.returned = frozenset(held.get(Kind.RETURNED.value, ()))
        self._guard.rollback_seen = (
            self._guard.rollback_before_restart or Kind.VANISHED.value in held
        )
        samples = self._store.sizes.load(self._name, time.time())
        self._guard.sizes.load(samples, time.monotonic())
        self._decided = self._store.decisions.of(self._name)
        self._guard.pinned = self._decided.identity
        self._guard.released = _by_kind(self._decided.released)
        self._guard.rejected = _by_kind(self._decided.rejected)

    def _next_wakeup(self) -> float:
        times = (self._debounce.wake_at(), self._membership.next_expiry(), self._list_again_at)
        return min([self._report_at, *(at for at in times if at is not None)])

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

    def _reconcile(self) -> None:
        """Do what is due now: judge and save the view, request a LIST, report health."""
        now = time.monotonic()
        expires_at = self._membership.next_expiry()
        if expires_at is not None and now >= expires_at:
            self._debounce.changed(now)
        if self._holds is not None and (self._holds or self._decided.confirmations):
            self._take_decisions(now)
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
        self._save_holds((*judgement.held, *self._membership.held()))
        self._list_again_at = judgement.list_again_at
        self._frozen = judgement.members is None
        if judgement.members is not None:
            self._publish(view, judgement.members)
            self._guard.accepted_view(view, judgement.members, now)
            if view.regressed:
                self._regressed = False
                self._watcher.accept_older_state()
            self._deleted &= judgement.members.keys()
        self._save_decisions()

    def _save_holds(self, holds: tuple[Held, ...]) -> None:
        if holds == self._holds:
            return
        self._store.holds.replace(self._name, holds, time.time())
        self._holds = holds
        self._sync_status.changed = True
        self._tell_holds(holds)

    def _tell_holds(self, holds: tuple[Held, ...]) -> None:
        """Log and fire what is held, at once when it is new; a picture that moves, now and then."""
        now = time.monotonic()
        current = {(change.kind, change.rejected): change for change in holds}
        for key in self._told.keys() - current.keys():
            del self._told[key]
        minions = None
        for key, change in current.items():
            token, at = self._told.get(key, ("", -_TELL_INTERVAL))
            if change.token == token or now < at + _TELL_INTERVAL:
                continue
            self._told[key] = change.token, now
            if change.rejected:
                continue
            if minions is None:
                minions = self._store.subscriptions.count(self._name)
            effect = change.effect.text(minions)
            self._log_hold(change, effect)
            self._fire(events.held(self._name, change, effect))

    def _log_hold(self, change: Held, effect: str) -> None:
        if change.kind.confirmable:
            remedy = f"if it is right, run salt-run k8s_nodes.confirm {self._name} {change.token}"
            remedy = f"if released: {effect}; {remedy}"
        else:
            remedy = "it ends when the node's kubelet reports fewer addresses"
        log.error(
            "cluster %s: change held (%s): %s; see salt-run k8s_nodes.status; %s [change-held]",
            self._name,
            change.kind.value,
            change.why,
            remedy,
        )

    def _take_decisions(self, now: float) -> bool:
        """Take what persons have decided since into the guard; return True if there was any."""
        decided = self._store.decisions.of(self._name)
        if not decided.confirmations and decided.rejected == self._decided.rejected:
            return False
        current = {change.token for change in self._holds or ()}
        self._decided = decided
        self._guard.rejected = {}
        for kind, subjects in _by_kind(decided.rejected).items():
            self._guard.reject(kind, subjects)
        for one in decided.confirmations:
            whole_view = one.kind in (Kind.IDENTITY.value, Kind.ROLLBACK.value)
            if whole_view and one.token not in current:
                log.warning(
                    "cluster %s: the confirmation by %s came too late: what is held (%s) has "
                    "changed since; see salt-run k8s_nodes.status [confirmation-void]",
                    *(self._name, one.by, one.kind),
                )
                continue
            self._guard.release(Kind(one.kind), one.subjects)
            log.warning(
                "cluster %s: %s confirmed: %s [change-confirmed]", self._name, one.by, one.why
            )
        taken = {one.token for one in decided.confirmations}
        self._save_decisions(taken)
        self._debounce.changed(now)
        return True

    def _save_decisions(self, taken: Collection[str] = ()) -> None:
        """Write which decisions the guard has yet to act on; ``taken`` are tokens."""
        released, rejected = _texts(self._guard.released), _texts(self._guard.rejected)
        identity = self._guard.accepted.identity if self._guard.accepted else self._guard.pinned
        known = self._decided
        same = (released, rejected, identity) == (known.released, known.rejected, known.identity)
        if same and not taken:
            return

        def change(old: ClusterDecisions) -> ClusterDecisions:
            # A person may have rejected more meanwhile: only what the guard dropped goes.
            kept = {
                kind: {
                    name: print_
                    for name, print_ in subjects.items()
                    if known.rejected.get(kind, {}).get(name) != print_
                    or rejected.get(kind, {}).get(name) == print_
                }
                for kind, subjects in old.rejected.items()
            }
            return msgspec.structs.replace(
                old,
                identity=identity,
                confirmations=[one for one in old.confirmations if one.token not in taken],
                released=released,
                rejected={kind: subjects for kind, subjects in kept.items() if subjects},
            )

        self._decided = self._store.decisions.update(self._name, change)

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
        )
        self._snapshot = snapshot
        self._baseline.advance(members, difference)
        for event in events.changed(snapshot, difference):
            self._fire(event)
        self._sync_status.changed = True
        self._record_change(snapshot, difference)

    def _pin_identity(self) -> None:
        """Keep the identity of the accepted view where a loss of the store does not reach it."""
        if self._snapshot is None:
            return
        # Without a file that can be used nothing is published; a person begins a new one.
        with contextlib.suppress(UnusableDecisions):
            self._store.continuity.bind_first()
            self._store.decisions.pin(self._name, self._snapshot.identity)

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
                )
            )

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
        health.nodes = len(self._membership.current_claims)
        health.refused = {reason.value: n for reason, n in self._membership.rejected().items()}
        self._store.health.report(self._name, health)
        self._pin_identity()
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
        self._report_at = now + (_RELEASE_POLL_INTERVAL if self._holds else _REPORT_INTERVAL)


def _by_kind(decided: Mapping[str, Mapping[str, str]]) -> dict[Kind, dict[str, str]]:
    return {Kind(kind): dict(subjects) for kind, subjects in decided.items()}


def _texts(decided: Mapping[Kind, Mapping[str, str]]) -> dict[str, dict[str, str]]:
    return {kind.value: dict(subjects) for kind, subjects in decided.items() if subjects}
