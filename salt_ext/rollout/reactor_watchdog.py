"""Notice a reactor that does not work: one that is not configured, or whose runs fail."""

from __future__ import annotations

import logging

from salt_ext.store import Store

log = logging.getLogger(__name__)

_GRACE = 20.0
"""Seconds of events without a publish after which the reactor counts as silent."""


class ReactorWatchdog:
    """Remembers since when events are fired and nothing is published."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._since = 0.0
        """When the first of these events was fired, in seconds since the epoch; 0 for none."""
        self._raised = True
        """Whether the alarm may be on, perhaps by the process before this one."""

    def event_fired(self, now: float) -> None:
        """Take that an event was fired for minions that are due."""
        if self._published(now):
            self.reset()
        # A time later than now is from before the clock was set back.
        self._since = min(self._since or now, now)
        if now >= self._since + _GRACE:
            self._raised = True
            if self._store.health.raise_reactor_alarm(self._since):
                log.error(
                    "reactor not working: minions are out of date and nothing was published for "
                    "%.0f s; run `salt-run k8s_nodes.check` [reactor-silent]",
                    now - self._since,
                )

    def check(self, now: float, *, due: bool) -> None:
        """Reset the alarm when no minion is due, or something was published since."""
        if not due or self._published(now):
            self.reset()

    def reset(self) -> None:
        """Begin anew, and take the alarm back if it is on."""
        self._since = 0.0
        if self._raised:
            self._raised = False
            if self._store.health.clear_reactor_alarm():
                log.warning("reactor works again: something was published [reactor-recovered]")

    def _published(self, now: float) -> bool:
        return bool(self._since and self._store.jobs.minions_published_to(self._since, now))
