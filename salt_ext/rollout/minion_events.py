"""Follow the minions themselves: they restart, come back, and report a changed firewall."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping

from salt_ext.core.rollout.drift import LedgerEntry, MinionCluster
from salt_ext.core.rollout.hints import Hints
from salt_ext.core.timing.rate_limiter import RateLimiter
from salt_ext.store import Store

log = logging.getLogger(__name__)

RESTARTED = "the minion restarted"
DRIFTED = "the minion reported firewall drift"


class MinionEvents:
    """Turns hints about minions into ledger entries; each kind of hint is rate limited."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._starts = RateLimiter()
        self._drifts = RateLimiter()
        self._returns = RateLimiter()
        self._probes = RateLimiter(burst=1, first_delay=30.0, max_delay=30.0)

    def handle(
        self, hints: Hints, ledger: Mapping[MinionCluster, LedgerEntry], now: float
    ) -> dict[str, str]:
        """
        Take hints, and do what is due; ``now`` is monotonic.

        Returns the minions that have to be applied again, and why.
        """
        minions = {minion for minion, _ in ledger}
        started = self._handle_starts(hints.started & minions, now)
        drifted = self._handle_drifts(hints.drifted & minions, now)
        silent = {entry.minion for entry in ledger.values() if entry.silent and entry.next_at}
        self._handle_alive(hints.alive & silent, now)
        return {**dict.fromkeys(drifted, DRIFTED), **dict.fromkeys(started, RESTARTED)}

    def _handle_starts(self, started: set[str], now: float) -> list[str]:
        reapplied = []
        for minion in _allowed(self._starts, started, now):
            # Its rules may be gone, and a job that it had will not return (salt#66501).
            if self._store.applied.invalidate(minion, RESTARTED, time.time()):
                log.info("minion %s: restarted; re-applying [minion-restarted]", minion)
                self._probe(now)
                reapplied.append(minion)
        return reapplied

    def _handle_drifts(self, drifted: set[str], now: float) -> list[str]:
        reapplied = []
        for minion in _allowed(self._drifts, drifted, now):
            if self._store.applied.invalidate(minion, DRIFTED, time.time()):
                log.warning(
                    "minion %s: reported firewall drift; re-applying [minion-drifted]", minion
                )
                self._probe(now)
                reapplied.append(minion)
        return reapplied

    def _handle_alive(self, alive: set[str], now: float) -> None:
        for minion in _allowed(self._returns, alive, now):
            if self._store.applied.retry_now(minion):
                log.info("minion %s: answers again; re-applying [minion-back]", minion)
                self._probe(now)

    def _probe(self, now: float) -> None:
        """Let stopped classes try one minion now, at most every 30 s."""
        if self._probes.allow("", now):
            self._store.rollouts.retry_stopped(time.time())


def _allowed(limiter: RateLimiter, minions: set[str], now: float) -> list[str]:
    """Return the minions whose hint counts now, and those whose earlier hint was held back."""
    ready = [minion for minion in minions if limiter.allow(minion, now)]
    return [*ready, *limiter.released(now)]
