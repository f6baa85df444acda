"""Ask for a run of apply when minions are out of sync and due: the timer behind every event."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping

from salt_ext.core import events
from salt_ext.core.config.config import Config
from salt_ext.core.rollout.drift import MinionCluster, OutOfSync
from salt_ext.rollout.classes import TargetMatches, no_minions
from salt_ext.rollout.departure_events import DepartureReporter, EventBus
from salt_ext.rollout.departures import DepartureTracker
from salt_ext.rollout.desired_state import DesiredState
from salt_ext.rollout.observed import ObservedChanges
from salt_ext.rollout.publishing import decided_stop
from salt_ext.rollout.reactor_watchdog import ReactorWatchdog
from salt_ext.rollout.selection import ApplyRequest, BatchSelector, Selection
from salt_ext.store import Store

log = logging.getLogger(__name__)

_GRACE = 3.0
"""Seconds that the reactor has for the event of a change before it is reminded."""
_INTERVAL = 10.0
"""Seconds between two reminders of one cluster."""
_RECENT = 5.0
"""Seconds for which the end of a minion's wait counts as new."""


class Reminder:
    """Fires ``lagging`` for clusters with minions that are due."""

    def __init__(
        self,
        config: Config,
        store: Store,
        desired_state: DesiredState,
        selector: BatchSelector,
        match: TargetMatches = no_minions,
    ) -> None:
        self._config = config
        self._store = store
        self._desired_state = desired_state
        self._selector = selector
        self._departures = DepartureTracker(store, desired_state)
        self._observed = ObservedChanges(store, match)
        self._reporter = DepartureReporter(store)
        self._watchdog = ReactorWatchdog(store)
        self._out_of_sync_since: dict[MinionCluster, float] = {}
        """Monotonic time of the first look that found it."""
        self._reminded: dict[str, float] = {}
        """Cluster to the monotonic time of its last reminder."""
        self._wakes: dict[str, float] = {}
        """Minions that wait for their next try, and until when (seconds since the epoch)."""

    def seconds_to_next(self) -> float:
        """Return the seconds until the first minion's wait ends; infinity when none waits."""
        return min(self._wakes.values(), default=float("inf")) - time.time()

    def remind(
        self, bus: EventBus, settled: frozenset[str], reapplied: Mapping[str, str] | None = None
    ) -> None:
        """
        Look once, and fire what is due; ``settled`` are clusters where a job was settled.

        ``reapplied`` are the minions that restarted or reported drift since the last look.
        """
        now, clock = time.time(), time.monotonic()
        ledger = self._store.applied.all()
        desired = self._departures.update(self._config, ledger)
        self._observed.update(self._config, desired, ledger, now, reapplied)
        rows = self._desired_state.out_of_sync(self._config, ledger, desired)
        self._record_since(rows, now, clock)
        self._reporter.report(bus, now)
        if self._config.in_doubt or decided_stop(self._store) is not None:
            self._wakes = {}
            self._watchdog.reset()
            return
        request = ApplyRequest(clusters=frozenset(self._config.names))
        selection = self._selector.select(request, now, rows)
        wakes = {
            name: max(
                selection.rate_limited.get(name, 0.0), min(row.entry.next_at for row in lacking)
            )
            for name, lacking in selection.out_of_sync.items()
        }
        for name, until in selection.closing.wakes.items():
            wakes[name] = min(until, wakes.get(name, until))
        self._wakes = {name: until for name, until in wakes.items() if until > now}
        woken = _woken(wakes, now, clock)
        due = self._due(selection, settled, woken, clock)
        self._watchdog.check(now, due=bool(due))
        for cluster, minions in due.items():
            if cluster in settled or self._has_news(cluster, woken, clock):
                self._reminded[cluster] = clock
                log.info(
                    "cluster %s: %d minions are out of sync and due [minions-due]",
                    *(cluster, minions),
                )
                event = events.lagging(cluster, minions)
                bus.fire(event.tag, event.data)
                self._watchdog.event_fired(now)

    def _record_since(self, rows: list[OutOfSync], now: float, clock: float) -> None:
        keys = [(row.minion, row.cluster) for row in rows]
        self._out_of_sync_since = {key: self._out_of_sync_since.get(key, clock) for key in keys}
        unknown = [
            (row.minion, row.cluster)
            for row in rows
            if row.entry.behind_since is None and not row.proof_expired
        ]
        if unknown:
            self._store.applied.mark_out_of_sync(unknown, now)

    def _has_news(self, cluster: str, woken: Mapping[str, float], clock: float) -> bool:
        """Return whether anything happened since the last reminder, or that is long ago."""
        reminded = self._reminded.get(cluster, 0.0)
        since = [at for place, at in self._out_of_sync_since.items() if place[1] == cluster]
        latest = max([*woken.values(), *since], default=0.0)
        return latest > reminded or clock >= reminded + _INTERVAL

    def _due(
        self,
        selection: Selection,
        settled: frozenset[str],
        woken: Mapping[str, float],
        clock: float,
    ) -> dict[str, int]:
        """Return how many minions wait to be published to, by cluster."""
        due: dict[str, set[str]] = {}
        for name in selection.due():
            for row in selection.out_of_sync[name]:
                waited = clock - self._out_of_sync_since[row.minion, row.cluster]
                if waited >= _GRACE or row.cluster in settled or name in woken:
                    due.setdefault(row.cluster, set()).add(name)
        for name, rows in selection.retired.items():
            for row in rows:
                due.setdefault(row.cluster, set()).add(name)
        # No other event asks for these.
        for cluster, names in selection.closing.due.items():
            due.setdefault(cluster, set()).update(names)
        return {cluster: len(minions) for cluster, minions in due.items() if cluster}


def _woken(wakes: Mapping[str, float], now: float, clock: float) -> dict[str, float]:
    """
    Return the minions whose rate limit or backoff has just ended, and the monotonic time of that.

    An event before that came too early for them, and all of it may be between two looks.
    """
    return {
        name: clock - (now - until) for name, until in wakes.items() if now - _RECENT < until <= now
    }
