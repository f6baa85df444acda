"""The subscription of a minion: what its pillar refers to, and what became of each reference."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Container, Mapping

from cachetools import LRUCache

from salt_ext.core.errors import StoreError
from salt_ext.master.pillar_compile import PillarCompile
from salt_ext.references.rendering import Rendering
from salt_ext.store import Store
from salt_ext.store.history import HistoryEntry
from salt_ext.store.subscriptions import Answer, Seen

log = logging.getLogger(__name__)

_LOGGED = 10_000
"""Unresolved references that a process remembers to have logged."""


class SubscriptionRecorder:
    """Writes only when something changed; logs an unresolved reference only when it is new."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._logged: LRUCache[tuple[str, str, str], bool] = LRUCache(maxsize=_LOGGED)

    def recorded(self, minion: str, pillarenv: str) -> dict[str, Seen]:
        """Return what is recorded of one pillar; nothing when the store cannot be read."""
        try:
            return self._store.subscriptions.recorded(minion, pillarenv)
        except StoreError:
            return {}

    def record(self, rendering: Rendering, compiled: Callable[[], PillarCompile]) -> None:
        """Record one compile; never raises for a store that cannot be used."""
        seen = rendering.seen()
        before: Mapping[str, Seen] = {}
        try:
            before = self._store.subscriptions.recorded(rendering.minion, rendering.pillarenv)
            if before != seen and compiled().permanent:
                self._write(rendering, before, seen, complete=compiled().complete)
        except StoreError as exc:
            log.error(
                "minion %s: the references of its pillar could not be recorded (%s); it gets no "
                "updates until its pillar is compiled again [subscription-not-recorded]",
                rendering.minion,
                exc,
            )
        # The same answer with the same reason: another process has logged it.
        known = [
            text
            for text, what in seen.items()
            if what.answer is not Answer.SERVED and before.get(text) == what
        ]
        self.log_unresolved(rendering, known)

    def log_unresolved(self, rendering: Rendering, known: Container[str] = ()) -> None:
        """Log each reference and node list without addresses, once, unless it is ``known``."""
        for text, why in rendering.unresolved.items():
            key = rendering.minion, text, why
            if key in self._logged:
                continue
            self._logged[key] = True
            if text in known:
                continue
            if text in rendering.lists:
                log.warning("minion %s: gets no node list %s: %s [node-list-unresolved]", *key)
            else:
                log.warning("minion %s: %s stays in the pillar: %s [reference-unresolved]", *key)

    def _write(
        self,
        rendering: Rendering,
        before: Mapping[str, Seen],
        seen: Mapping[str, Seen],
        *,
        complete: bool,
    ) -> None:
        minion, pillarenv = rendering.minion, rendering.pillarenv
        subscriptions, now = self._store.subscriptions, time.time()
        subscriptions.record(minion, pillarenv, seen, now, complete=complete)
        after = subscriptions.recorded(minion, pillarenv)
        if before.keys() != after.keys():
            detail = {
                "minion": minion,
                "pillarenv": pillarenv,
                "refers_to": sorted(after.keys() - before.keys()),
                "no_longer_to": sorted(before.keys() - after.keys()),
            }
            self._store.history.record(
                HistoryEntry(at=now, cluster="", what="pillar", detail=detail)
            )
