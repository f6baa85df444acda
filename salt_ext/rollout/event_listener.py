"""Listen to Salt's event bus in a thread that does nothing else: a slow listener loses events."""

from __future__ import annotations

import threading
import time
from typing import Any

from salt_ext.core.rollout.hints import KEY_TAG, Hints
from salt_ext.master.bus import open_event_stream
from salt_ext.supervisor import Heartbeat

_POLL = 1.0
"""Seconds to wait for an event before the thread checks whether it has to stop."""
_HANGS_AFTER = 60.0
"""Seconds without a round after which this thread counts as hung."""


class HintMailbox:
    """Hands hints from the listening thread to the controller."""

    def __init__(self) -> None:
        self._hints = Hints()
        self._lock = threading.Lock()
        self._posted = threading.Event()
        self.keys_changed = threading.Event()
        """Set when a key may have been accepted or deleted."""
        self._expected: frozenset[str] = frozenset()

    def post(self, tag: str, minion: str = "") -> None:
        """Add what a tag hints at."""
        with self._lock:
            if self._hints.take(tag, minion):
                self._posted.set()
        # A key that the master accepts by itself shows in an authentication only.
        if tag == KEY_TAG or minion in self._expected:
            self.keys_changed.set()

    def expect(self, minions: frozenset[str]) -> None:
        """Set the minions whose authentication means that their key may be accepted again."""
        self._expected = minions

    def collect(self, wait: float) -> Hints:
        """Return the hints since the last call; wait at most so many seconds for one."""
        self._posted.wait(wait)
        with self._lock:
            self._posted.clear()
            collected, self._hints = self._hints, Hints()
        return collected


class EventListener:
    """Runs in a thread of its own."""

    def __init__(self, mailbox: HintMailbox, opts: dict[str, Any], stop: threading.Event) -> None:
        self._mailbox = mailbox
        self._opts = opts
        self._stop = stop
        self.heartbeat = Heartbeat(_HANGS_AFTER)

    def run(self) -> None:
        """Post hints until told to stop."""
        with open_event_stream(self._opts) as stream:
            while not self._stop.is_set():
                self.heartbeat.beat()
                begun = time.monotonic()
                event = stream.next(_POLL)
                if event is not None:
                    self._mailbox.post(event.tag, event.minion)
                elif time.monotonic() - begun < _POLL / 2:
                    # There is no bus, as while the master starts.
                    self._stop.wait(_POLL / 2)
