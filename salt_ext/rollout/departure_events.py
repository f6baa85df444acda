"""Fire ``departure/open`` for addresses that departed long ago and can still get in."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Protocol

from salt_ext.core import events
from salt_ext.core.display import names
from salt_ext.core.rollout.departures import Departure, summary
from salt_ext.store import Store

log = logging.getLogger(__name__)

LIMIT = 600.0
"""Seconds after which an open departure is reported."""


class EventBus(Protocol):
    """Where reactors listen, the extension's and those of users."""

    def fire(self, tag: str, data: Mapping[str, object]) -> None:
        """Fire an event."""


class DepartureReporter:
    """Names each departure in one event."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def report(self, bus: EventBus, now: float) -> None:
        """Fire one event for each cluster with departures that are open for too long."""
        by_cluster: dict[str, list[Departure]] = {}
        for departure in self._store.departures.unreported(now - LIMIT):
            by_cluster.setdefault(departure.cluster, []).append(departure)
        for cluster, rows in by_cluster.items():
            event = events.departure_open(
                cluster,
                addresses=sorted({row.address for row in rows}),
                minions=sorted({row.minion for row in rows}),
                open_by=next((row.open_by for row in rows if row.open_by), ""),
                seconds=max(now - row.since for row in rows),
            )
            log.error("%s [departure-open]", summary(rows) or names([cluster]))
            self._store.departures.report(rows)
            bus.fire(event.tag, event.data)
