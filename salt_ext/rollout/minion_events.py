"""Follows what becomes of the minions themselves: they start, come back and are tampered with."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping

from salt_ext.core.rollout.drift import LedgerEntry, MinionCluster
from salt_ext.core.rollout.hints import Hints
from salt_ext.core.timing.rate_limiter import RateLimiter
from salt_ext.store import Store

log = logging.getLogger(__name__)


class MinionEvents:
    """What is heard of minions turns into what the ledger says of them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._starts = RateLimiter()
        self._lives = RateLimiter()
        self._drifts = RateLimiter()
        self._probes = RateLimiter(burst=1, first_delay=30.0, max_delay=30.0)

    def attend(self, hints: Hints, ledger: Mapping[MinionCluster, LedgerEntry], now: float) -> None:
        """Take hints, and do what is due; ``now`` is monotonic."""
        minions = {minion for minion, _ in ledger}
        self._take_starts(hints.started & minions, now)
        self._take_drifts(hints.drifted & minions, now)
        silent = {entry.minion for entry in ledger.values() if entry.silent and entry.next_at}
        self._take_lives(hints.alive & silent, now)

    def _take_starts(self, started: set[str], now: float) -> None:
        ready = [minion for minion in started if self._starts.allow(minion, now)]
        for minion in (*ready, *self._starts.released(now)):
            # Whatever was in force may be gone, and its job will not return (salt#66501).
            if self._store.applied.invalidate(minion, "it has started since", time.time()):
                log.info("%s has started: it is applied again", minion)
                self._probe(now)

    def _take_drifts(self, drifted: set[str], now: float) -> None:
        ready = [minion for minion in drifted if self._drifts.allow(minion, now)]
        for minion in (*ready, *self._drifts.released(now)):
            if self._store.applied.invalidate(
                minion, "somebody has changed its firewall", time.time()
            ):
                log.warning("somebody has changed the firewall of %s: it is applied again", minion)
                self._probe(now)

    def _take_lives(self, alive: set[str], now: float) -> None:
        ready = [minion for minion in alive if self._lives.allow(minion, now)]
        for minion in (*ready, *self._lives.released(now)):
            if self._store.applied.retry_now(minion):
                log.info("%s is there again", minion)
                self._probe(now)

    def _probe(self, now: float) -> None:
        if self._probes.allow("", now):
            self._store.rollouts.retry_stopped(time.time())
