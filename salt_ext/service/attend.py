"""Follows what becomes of the minions themselves: they start, come back, and go."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping

from salt_ext.core.convergence import Entry, Place
from salt_ext.core.errors import K8sNodesError
from salt_ext.core.hints import Hints
from salt_ext.core.spacing import Spacing
from salt_ext.store import Store
from salt_ext.store.history import Happened

log = logging.getLogger(__name__)

_KEYS_EVERY = 60.0
"""Seconds between two looks at the keys when nothing was announced."""
_KEYS_SOON = 5.0
"""Seconds between two looks at most, and between the two that a missing key takes."""


class Attending:
    """What is heard of minions turns into what the ledger says of them."""

    def __init__(self, store: Store, accepted: Callable[[], frozenset[str]]) -> None:
        self._store = store
        self._accepted = accepted
        self._starts = Spacing()
        self._lives = Spacing()
        self._probes = Spacing(few=1, first=30.0, cap=30.0)
        self._keys_at = 0.0
        self._keys_were_at = float("-inf")
        self._known_keys: frozenset[str] | None = None
        self._missing: dict[str, float] = {}

    def attend(self, hints: Hints, ledger: Mapping[Place, Entry], now: float) -> None:
        """Take hints, and do what is due; ``now`` is monotonic."""
        minions = {minion for minion, _ in ledger}
        self._take_starts(hints.started & minions, now)
        silent = {entry.minion for entry in ledger.values() if entry.silent and entry.next_at}
        self._take_lives(hints.alive & silent, now)
        if hints.keys:
            self._keys_at = min(self._keys_at, self._keys_were_at + _KEYS_SOON)
        if now >= self._keys_at:
            self._keys_were_at, self._keys_at = now, now + _KEYS_EVERY
            self._look_at_keys(minions, now)

    def _take_starts(self, started: set[str], now: float) -> None:
        ready = [minion for minion in started if self._starts.wish(minion, now)]
        for minion in (*ready, *self._starts.granted(now)):
            # Whatever was in force may be gone, and its job will not return (salt#66501).
            if self._store.ledger.void(minion, "it has started since", time.time()):
                log.info("%s has started: it is applied again", minion)
                self._probe(now)

    def _take_lives(self, alive: set[str], now: float) -> None:
        ready = [minion for minion in alive if self._lives.wish(minion, now)]
        for minion in (*ready, *self._lives.granted(now)):
            if self._store.ledger.hurry(minion):
                log.info("%s is there again", minion)
                self._probe(now)

    def _probe(self, now: float) -> None:
        if self._probes.wish("", now):
            self._store.waves.probe(time.time())

    def _look_at_keys(self, minions: set[str], now: float) -> None:
        try:
            accepted = self._accepted()
        except K8sNodesError as exc:
            log.warning("%s; nobody is forgotten", exc)
            return
        if not accepted:
            # Salt tells of a folder that it cannot read as of one without keys.
            return
        minions |= {row.minion for row in self._store.subscriptions.all()}
        gone = minions - accepted
        self._missing = {minion: self._missing.get(minion, now) for minion in gone}
        for minion, since in self._missing.items():
            if now >= since + _KEYS_SOON / 2:
                self._forget(minion)
            else:
                self._keys_at = now + _KEYS_SOON
        for minion in (accepted - (self._known_keys or accepted)) & minions:
            self._store.ledger.hurry(minion)
        self._known_keys = accepted

    def _forget(self, minion: str) -> None:
        log.info("%s: its key is gone, it is forgotten", minion)
        self._store.subscriptions.forget(minion)
        self._store.history.record(
            Happened(at=time.time(), cluster="", what="forgotten", detail={"minion": minion})
        )
