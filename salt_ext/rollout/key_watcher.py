"""Forgets the minions whose keys are gone, and learns of those that come back."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Set
from typing import Any

from salt_ext.core.display import names
from salt_ext.core.errors import K8sNodesError
from salt_ext.core.timing.rate_limiter import RateLimiter
from salt_ext.master.keys import accepted_minions
from salt_ext.master.pillar_compiler import NoCachedGrains, PillarCompiler
from salt_ext.master.publisher import Publisher
from salt_ext.references.discovery import forget_gone, learn_again
from salt_ext.rollout.apply import REFRESH
from salt_ext.store import Store
from salt_ext.supervisor import Heartbeat

log = logging.getLogger(__name__)

_EVERY = 60.0
"""Seconds between two looks at the keys."""
_LEAST = 5.0
"""Seconds between two looks at most, however often an event asks for one."""
_TICK = 0.5
_HANGS = 600.0
"""Seconds without coming round after which this thread counts as hung."""


def _nobody(_: Set[str]) -> None:
    """Expect nobody."""


class KeyWatcher:
    """Runs in a thread of its own: keys may be kept where reading them takes time."""

    def __init__(
        self,
        store: Store,
        opts: Mapping[str, Any],
        stop: threading.Event,
        *,
        every: float = _EVERY,
        least: float = _LEAST,
        nudge: threading.Event | None = None,
        expect: Callable[[frozenset[str]], None] = _nobody,
    ) -> None:
        """``expect`` is told of whom to hear, and ``nudge`` is set when it was heard."""
        self._store = store
        self._opts = opts
        self._stop = stop
        self._every = every
        self._least = least
        self._nudge = nudge or threading.Event()
        self._expect = expect
        self._tries = RateLimiter(burst=3, min_interval=least)
        self.heartbeat = Heartbeat(_HANGS)

    def run(self) -> None:
        """Go on until told to stop."""
        while self._wait():
            self.heartbeat.beat()
            try:
                self._look()
            except K8sNodesError as exc:
                log.warning("%s", exc)

    def _look(self) -> None:
        subscriptions = self._store.subscriptions
        if not subscriptions.known() and not subscriptions.deleted():
            return
        accepted = accepted_minions(self._opts)
        forget_gone(self._store, accepted)
        forgotten = subscriptions.deleted()
        self._expect(forgotten)
        now = time.monotonic()
        back = [one for one in sorted(forgotten & accepted) if self._tries.allow(one, now)]
        if without := [minion for minion in back if not self._learned(minion)]:
            self._ask(without)

    def _learned(self, minion: str) -> bool:
        """Find out what a minion refers to; False when it has to be asked."""
        try:
            learn_again(self._store, PillarCompiler(self._opts), minion)
        except NoCachedGrains:
            return False
        except K8sNodesError as exc:
            log.warning("%s", exc)
        return True

    def _ask(self, minions: list[str]) -> None:
        """Let minions ask for their pillars, with one publish for all of them."""
        if self._store.control.paused() is not None:
            return
        publisher = Publisher(dict(self._opts))
        publisher.apply(publisher.new_jid(), minions, REFRESH)
        log.info("%s: keys are accepted again, asked for their pillars", names(minions))
        self._nudge.set()

    def _wait(self) -> bool:
        """Wait until it is time, or something asks for it; False when told to stop."""
        begun = time.monotonic()
        while not self._stop.wait(min(self._every, _TICK)):
            waited = time.monotonic() - begun
            if waited >= self._every or (waited >= self._least and self._nudge.is_set()):
                self._nudge.clear()
                return True
        return False
