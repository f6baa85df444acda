"""How the watch of one cluster is doing: told to the store, and as events when that turns."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from salt_ext.core import events
from salt_ext.store import Health
from salt_ext.watch.updates import Failed, Replaced, Update

log = logging.getLogger(__name__)


class SyncStatus:
    """Follows the updates of one cluster; ``fire`` sends an event."""

    def __init__(self, cluster: str, fire: Callable[[events.Event], None]) -> None:
        self._cluster = cluster
        self._fire = fire
        self.health = Health(state="listing", reported_at=0.0)
        self.turned = False
        """Whether something happened that a reader should know at once."""
        self._lost = False
        """Whether it was lost in this process, and said so."""

    def resume(self, before: Health | None) -> None:
        """Take what a process before this one knew: how old what is served is, or since when."""
        if before is not None:
            self.health.listed_at, self.health.heard_at = before.listed_at, before.heard_at
            self.health.lost_since = before.lost_since

    def take(self, update: Update) -> None:
        """Take what came from the thread that follows the API server."""
        if isinstance(update, Failed):
            self._failed(update)
            return
        self.health.heard_at = time.time()
        if isinstance(update, Replaced):
            self.health.listed_at = self.health.heard_at
            self.health.lists += 1
            self.turned = True
        if self.health.state != "watching":
            self._restored()

    def _failed(self, update: Failed) -> None:
        health = self.health
        health.state, health.error, health.failures = "waiting", update.error, update.failures
        health.errors += 1
        health.retry_at = time.time() + update.retry_in
        self.turned = True
        if self._lost:
            return
        self._lost = True
        health.lost_since = health.lost_since or time.time()
        log.warning(
            "%s: %s; the last known nodes stay in force, next try in %.1f s",
            self._cluster,
            update.error,
            update.retry_in,
        )
        self._fire(events.sync_lost(self._cluster, update.error))

    def _restored(self) -> None:
        health = self.health
        if health.lost_since:
            lost = time.time() - health.lost_since
            log.warning("%s: in sync again after %.0f s", self._cluster, lost)
            self._fire(events.sync_restored(self._cluster))
        self._lost = False
        health.state, health.lost_since = "watching", 0.0
        health.error, health.failures, health.retry_at = "", 0, 0.0
        self.turned = True
