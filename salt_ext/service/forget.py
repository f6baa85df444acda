"""Forgets the minions whose keys are gone: nothing is to be applied on them any more."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from typing import Any

from salt_ext.commands.discover import forget_gone
from salt_ext.core.errors import K8sNodesError
from salt_ext.master.keys import every_accepted
from salt_ext.service.group import Pulse
from salt_ext.store import Store

log = logging.getLogger(__name__)

_EVERY = 60.0
"""Seconds between two looks at the keys."""
_LEAST = 5.0
"""Seconds between two looks at most, however often an event asks for one."""
_TICK = 0.5
_HANGS = 600.0
"""Seconds without coming round after which this thread counts as hung."""


class Forgetting:
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
    ) -> None:
        self._store = store
        self._opts = opts
        self._stop = stop
        self._every = every
        self._least = least
        self._nudge = nudge or threading.Event()
        self.pulse = Pulse(_HANGS)

    def run(self) -> None:
        """Go on until told to stop."""
        while self._wait():
            self.pulse.beat()
            try:
                if self._store.subscriptions.known():
                    forget_gone(self._store, every_accepted(self._opts))
            except K8sNodesError as exc:
                log.warning("%s", exc)

    def _wait(self) -> bool:
        """Wait until it is time, or something asks for it; False when told to stop."""
        begun = time.monotonic()
        while not self._stop.wait(min(self._every, _TICK)):
            waited = time.monotonic() - begun
            if waited >= self._every or (waited >= self._least and self._nudge.is_set()):
                self._nudge.clear()
                return True
        return False
