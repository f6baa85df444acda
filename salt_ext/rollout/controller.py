"""The engine's thread for the minions: settle jobs, take hints, and ask for the next run."""

from __future__ import annotations

import logging
import threading
import time

from salt_ext.core.config.config import Config
from salt_ext.core.errors import StoreError
from salt_ext.master.bus import Bus
from salt_ext.master.job_cache import JobCache
from salt_ext.master.publisher import Publisher
from salt_ext.master.targets import TargetMatcher
from salt_ext.rollout.desired_state import DesiredState
from salt_ext.rollout.event_listener import HintMailbox
from salt_ext.rollout.minion_events import MinionEvents
from salt_ext.rollout.reminder import Reminder
from salt_ext.rollout.selection import BatchSelector
from salt_ext.rollout.settlement import JobSettlement
from salt_ext.store import Store
from salt_ext.supervisor import Heartbeat

log = logging.getLogger(__name__)

_MIN_WAIT = 0.05
"""Seconds until the job cache is asked again for a return that the bus has announced."""
_MAX_WAIT = 1.0
"""Seconds between two looks when nothing was announced."""
_HANGS_AFTER = 60.0
"""Seconds without a round after which this thread counts as hung."""
_REPORT_INTERVAL = 5.0
"""Seconds between two reports that this thread works; `check` takes a long silence for an error."""
_TARGETS_LAST = 15.0
"""Seconds for which the minions of a target are cached."""


class RolloutController:
    """Runs in a thread of its own; publishes only the question whether a job still runs."""

    def __init__(
        self,
        config: Config,
        store: Store,
        opts: dict[str, object],
        mailbox: HintMailbox,
        stop: threading.Event,
    ) -> None:
        self._store = store
        self._opts = opts
        self._mailbox = mailbox
        self._stop = stop
        desired_state = DesiredState(store)
        match = TargetMatcher(opts, keep=_TARGETS_LAST)
        selector = BatchSelector(config, store, desired_state, match)
        self.settlement = JobSettlement(config, store, opts, Publisher(opts))
        self.reminder = Reminder(config, store, desired_state, selector, match)
        self._minion_events = MinionEvents(store)
        self._report_at = 0.0
        self.heartbeat = Heartbeat(_HANGS_AFTER)

    def run(self) -> None:
        """Run rounds until told to stop."""
        bus = Bus(self._opts)
        jobs = JobCache(self._opts)
        while not self._stop.is_set():
            self.heartbeat.beat()
            hints = self._mailbox.collect(self.patience())
            now = time.monotonic()
            self.settlement.announce(hints.returned)
            try:
                settled = self.settlement.settle(jobs)
                reapplied = self._minion_events.handle(hints, self._store.applied.all(), now)
                self.reminder.remind(bus, settled, reapplied)
                self._report(now)
            except StoreError as exc:
                log.error("store: %s; trying again [rollout-store-error]", exc)
                self._stop.wait(_MAX_WAIT)
            # A flood of events on the bus gets at most a third of a core of this thread.
            self._stop.wait(min(_MAX_WAIT, 2 * (time.monotonic() - now)))

    def patience(self) -> float:
        """Return the seconds to wait for hints before the next round."""
        if self.settlement.expects_returns:
            return _MIN_WAIT
        return max(_MIN_WAIT, min(_MAX_WAIT, self.reminder.seconds_to_next()))

    def _report(self, now: float) -> None:
        """Report that this thread works, after a whole round: one that always fails never does."""
        if now >= self._report_at:
            self._store.health.minion_loop_seen(time.time())
            self._report_at = now + _REPORT_INTERVAL
