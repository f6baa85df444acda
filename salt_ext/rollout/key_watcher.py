"""Watch the minion keys: forget minions whose key is deleted, and restore those that come back."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Set

from salt_ext.core.display import names
from salt_ext.core.errors import K8sNodesError
from salt_ext.core.timing.rate_limiter import RateLimiter
from salt_ext.master.keys import accepted_minions
from salt_ext.master.pillar_compiler import NoCachedGrains, PillarCompiler
from salt_ext.master.publisher import Publisher
from salt_ext.references.discovery import forget_deleted, restore
from salt_ext.rollout.apply import REFRESH
from salt_ext.rollout.publishing import decided_stop
from salt_ext.store import Store
from salt_ext.supervisor import Heartbeat

log = logging.getLogger(__name__)

_INTERVAL = 60.0
"""Seconds between two looks at the keys."""
_MIN_INTERVAL = 5.0
"""Seconds between two looks at least, however often an event asks for one."""
_TICK = 0.5
_HANGS_AFTER = 600.0
"""Seconds without a round after which this thread counts as hung."""


def _ignore(_: Set[str]) -> None:
    """Expect no minion."""


class KeyWatcher:
    """Runs in a thread of its own: the keys may be where reading them takes time."""

    def __init__(
        self,
        store: Store,
        opts: Mapping[str, object],
        stop: threading.Event,
        *,
        interval: float = _INTERVAL,
        min_interval: float = _MIN_INTERVAL,
        keys_changed: threading.Event | None = None,
        expect: Callable[[frozenset[str]], None] = _ignore,
    ) -> None:
        """
        Watch every ``interval`` seconds, and sooner when ``keys_changed`` is set.

        ``expect`` gets the forgotten minions: an authentication of one is a reason to look.
        """
        self._store = store
        self._opts = opts
        self._stop = stop
        self._interval = interval
        self._min_interval = min_interval
        self._keys_changed = keys_changed or threading.Event()
        self._expect = expect
        self._tries = RateLimiter(burst=3, min_interval=min_interval)
        self.heartbeat = Heartbeat(_HANGS_AFTER)

    def run(self) -> None:
        """Look until told to stop."""
        while self._wait():
            self.heartbeat.beat()
            try:
                self.check()
            except K8sNodesError as exc:
                log.warning("minion keys: %s [keys-unreadable]", exc)

    def check(self) -> None:
        """Look at the keys once."""
        subscriptions = self._store.subscriptions
        if not subscriptions.known() and not subscriptions.deleted():
            return
        accepted = accepted_minions(self._opts)
        forget_deleted(self._store, accepted)
        forgotten = subscriptions.deleted()
        self._expect(forgotten)
        now = time.monotonic()
        back = [name for name in sorted(forgotten & accepted) if self._tries.allow(name, now)]
        if without_grains := [minion for minion in back if not self._restored(minion)]:
            self._ask(without_grains)

    def _restored(self, minion: str) -> bool:
        """Find out what a minion refers to; False when it has to be asked."""
        try:
            restore(self._store, PillarCompiler(self._opts), minion)
        except NoCachedGrains:
            return False
        except K8sNodesError as exc:
            log.warning("minion %s: not restored: %s [minion-not-restored]", minion, exc)
        return True

    def _ask(self, minions: list[str]) -> None:
        """Have minions ask for their pillars, with one publish for all of them."""
        if decided_stop(self._store) is not None:
            return
        publisher = Publisher(dict(self._opts))
        publisher.apply(publisher.new_jid(), minions, REFRESH)
        log.info(
            "minion keys: %s accepted again; asked to refresh their pillars [keys-back]",
            names(minions),
        )
        self._keys_changed.set()

    def _wait(self) -> bool:
        """Wait until it is time, or an event asks for it; False when told to stop."""
        begun = time.monotonic()
        while not self._stop.wait(min(self._interval, _TICK)):
            waited = time.monotonic() - begun
            if waited >= self._interval or (
                waited >= self._min_interval and self._keys_changed.is_set()
            ):
                self._keys_changed.clear()
                return True
        return False
