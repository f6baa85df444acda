"""Forgets the minions whose keys are gone: nothing is to be applied on them any more."""

from __future__ import annotations

import logging
import threading
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
    ) -> None:
        self._store = store
        self._opts = opts
        self._stop = stop
        self._every = every
        self.pulse = Pulse(_HANGS)

    def run(self) -> None:
        """Go on until told to stop."""
        while not self._stop.wait(self._every):
            self.pulse.beat()
            try:
                if self._store.subscriptions.known():
                    forget_gone(self._store, every_accepted(self._opts))
            except K8sNodesError as exc:
                log.warning("%s", exc)
