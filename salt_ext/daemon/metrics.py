"""Reads the figures from the store: the same for every way of handing them out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from salt_ext.core import metrics
from salt_ext.core.config.config import Config
from salt_ext.core.metrics import Sample
from salt_ext.rollout.desired_state import DesiredState
from salt_ext.store import Store


class MetricsCollector:
    """The figures of every configured cluster; labels are cluster names and fixed reasons."""

    def __init__(self, config: Config, store: Store) -> None:
        self._config = config
        self._store = store
        self._desired_state = DesiredState(store)

    def samples(self) -> Iterator[Sample]:
        """Yield what is known now."""
        wanted = Counter(cluster for _, cluster in self._desired_state.desired(self._config))
        rows = self._desired_state.out_of_sync(self._config)
        late = Counter(row.cluster for row in rows if not row.proof_expired)
        for name in self._config.names:
            label = (("cluster", name),)
            yield Sample(metrics.MINIONS, wanted[name], label)
            yield Sample(metrics.BEHIND, late[name], label)
            yield Sample(metrics.REVISION, self._store.snapshots.revision(name), label)
            yield from self._health(name, label)

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
