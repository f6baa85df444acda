"""Collects the metrics from the store: the same for the textfile and for OpenTelemetry."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator

from salt_ext.core import metrics
from salt_ext.core.config.config import Config
from salt_ext.core.metrics import Sample
from salt_ext.core.rollout.drift import OutOfSync
from salt_ext.core.rollout.observed import any_observed, observed_by
from salt_ext.rollout.classes import MinionClasses, TargetMatches, no_minions
from salt_ext.rollout.desired_state import DesiredState
from salt_ext.rollout.publishing import decided_stop, recovering
from salt_ext.store import Store


class MetricsCollector:
    """The metrics of every configured cluster; labels are cluster names and fixed reasons."""

    def __init__(self, config: Config, store: Store, match: TargetMatches = no_minions) -> None:
        """Collect for one engine; ``match`` finds the minions of a class."""
        self._config = config
        self._store = store
        self._match = match
        self._observes = any_observed(config)
        self._desired_state = DesiredState(store)

    def samples(self) -> Iterator[Sample]:
        """Yield the current values; :class:`StoreError` when the store cannot be read."""
        desired = self._desired_state.desired(self._config)
        minions = Counter(cluster for _, cluster in desired)
        rows = self._desired_state.out_of_sync(self._config)
        behind = Counter(row.cluster for row in rows if not row.proof_expired)
        yield Sample(metrics.STOPPED, decided_stop(self._store) is not None)
        found = recovering(self._config, self._store)
        waiting = found.waiting if found is not None else ()
        observed = self._observed_behind(rows)
        for name in self._config.names:
            label = (("cluster", name),)
            yield Sample(metrics.RECOVERING, name in waiting, label)
            yield Sample(metrics.OBSERVED_BEHIND, observed[name], label)
            yield Sample(metrics.MINIONS, minions[name], label)
            yield Sample(metrics.BEHIND, behind[name], label)
            yield Sample(metrics.REVISION, self._store.snapshots.revision(name), label)
            yield from self._health(name, label)
        yield from self._departures()

    def _observed_behind(self, rows: Iterable[OutOfSync]) -> Counter[str]:
        """Return how many minions of each cluster wait for mode ``enforce`` alone."""
        if not self._observes:
            return Counter()
        classes = MinionClasses(self._config.apply, self._match)
        return Counter(
            row.cluster
            for row in rows
            if not row.proof_expired
            and observed_by(self._config, row.cluster, classes.of(row.minion))
        )

    def _departures(self) -> Iterator[Sample]:
        """Yield the open departures, also of clusters that are configured no more."""
        now = time.time()
        ages: dict[str, list[float]] = {name: [] for name in self._config.names}
        for departure in self._store.departures.open():
            ages.setdefault(departure.cluster, []).append(now - departure.since)
        for name, listed in ages.items():
            label = (("cluster", name),)
            yield Sample(metrics.DEPARTURES, len(listed), label)
            oldest = max(0.0, round(max(listed, default=0.0), 1))
            yield Sample(metrics.OLDEST_DEPARTURE, oldest, label)

    def _health(self, name: str, label: tuple[tuple[str, str], ...]) -> Iterator[Sample]:
        held = Counter(change.kind for change in self._store.holds.of(name))
        for kind, count in held.items():
            yield Sample(metrics.HELD, count, (*label, ("reason", kind)))
        health = self._store.health.of(name)
        if health is None:
            return
        yield Sample(metrics.IN_SYNC, health.state == "watching", label)
        yield Sample(metrics.NODES, health.nodes, label)
        yield Sample(metrics.LISTED, health.listed_at, label)
        yield Sample(metrics.HEARD, health.heard_at, label)
        yield Sample(metrics.REPORTED, health.reported_at, label)
        yield Sample(metrics.FAILURES, health.failures, label)
        yield Sample(metrics.LISTS, health.lists, label)
        yield Sample(metrics.EVENTS, health.events, label)
        yield Sample(metrics.IGNORED, health.ignored, label)
        yield Sample(metrics.ERRORS, health.errors, label)
        for reason, count in health.refused.items():
            yield Sample(metrics.REFUSED, count, (*label, ("reason", reason)))
