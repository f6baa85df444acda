"""The state of one cluster's watch: its health record, and the events when it is lost or back."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from salt_ext.core import events
from salt_ext.store import Health
from salt_ext.watch.updates import Failed, Replaced, Update

log = logging.getLogger(__name__)


class SyncStatus:
    """Derives a cluster's health from its updates; ``fire`` sends an event."""

    def __init__(self, cluster: str, fire: Callable[[events.Event], None]) -> None:
        self._cluster = cluster
        self._fire = fire
        self.health = Health(state="listing", reported_at=0.0)
        self.changed = False
        """Whether the health should be reported now, not at the next interval."""
        self._lost = False
        """Whether this process logged and fired the loss of contact."""

    def resume(self, previous: Health | None) -> None:
        """Continue with the times that an earlier process stored: age of the view, and outage."""
        if previous is not None:
            self.health.listed_at = previous.listed_at
            self.health.heard_at = previous.heard_at
            self.health.lost_since = previous.lost_since

    def apply_update(self, update: Update) -> None:
        """Apply one update of the watcher."""
        if isinstance(update, Failed):
            self._apply_failure(update)
            return
        self.health.heard_at = time.time()
        if isinstance(update, Replaced):
            self.health.listed_at = self.health.heard_at
            self.health.lists += 1
            self.changed = True
        if self.health.state != "watching":
            self._mark_watching()

    def _apply_failure(self, failure: Failed) -> None:
        health = self.health
        health.state, health.error, health.failures = "waiting", failure.error, failure.failures
        health.errors += 1
        health.retry_at = time.time() + failure.retry_in
        self.changed = True
        if self._lost:
            return
        self._lost = True
        health.lost_since = health.lost_since or time.time()
        log.warning(
            "cluster %s: lost contact (%s); last known nodes stay in force, next try in %.1f s "
            "[watch-lost]",
            self._cluster,
            failure.error,
            failure.retry_in,
        )
        self._fire(events.sync_lost(self._cluster, failure.error))

    def _mark_watching(self) -> None:
        health = self.health
        if health.lost_since:
            outage = time.time() - health.lost_since
            log.warning(
                "cluster %s: back in sync after %.0f s [watch-restored]", self._cluster, outage
            )
            self._fire(events.sync_restored(self._cluster))
        self._lost = False
        health.state, health.lost_since = "watching", 0.0
        health.error, health.failures, health.retry_at = "", 0, 0.0
        self.changed = True
