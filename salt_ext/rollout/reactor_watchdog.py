"""Notices when nobody acts on the engine's events: a reactor that is wired to nothing, or fails."""

from __future__ import annotations

import logging

from salt_ext.store import Store

log = logging.getLogger(__name__)

_PATIENCE = 20.0
"""Seconds of events without a publish after which it is said that nobody acts on them."""


class ReactorWatchdog:
    """Remembers since when events are fired that nothing is published after."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._since = 0.0
        """When the first of them was fired, in seconds since the epoch; 0 for none."""
        self._said = True
        """Whether it may have been said, perhaps by the process before this one."""

    def reminded(self, now: float) -> None:
        """Take that an event was fired for minions that are due."""
        if self._told(now):
            self.nothing_to_heed()
        # Later than now is a time from before the clock was set back.
        self._since = min(self._since or now, now)
        if now >= self._since + _PATIENCE:
            self._said = True
            if self._store.health.raise_reactor_alarm(self._since):
                log.error(
                    "nobody has acted for %.0f s on events for minions that are behind: the "
                    "reactor does not call k8s_nodes.apply, or its runs fail; see salt-run "
                    "k8s_nodes.check",
                    now - self._since,
                )

    def look(self, now: float, *, due: bool) -> None:
        """Take whether any minion is due, and see whether somebody has published since."""
        if not due or self._told(now):
            self.nothing_to_heed()

    def _told(self, now: float) -> bool:
        return bool(self._since and self._store.jobs.minions_published_to(self._since, now))

    def nothing_to_heed(self) -> None:
        """Begin anew."""
        self._since = 0.0
        if self._said:
            self._said = False
            if self._store.health.clear_reactor_alarm():
                log.warning("the engine's events are acted on again")
