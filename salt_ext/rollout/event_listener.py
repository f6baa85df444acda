"""Listens to Salt's event bus, in a thread that does nothing else: who is slow loses events."""

from __future__ import annotations

import threading
import time
from typing import Any

from salt_ext.core.rollout.hints import KEY_TAG, Hints
from salt_ext.master.bus import open_event_stream
from salt_ext.supervisor import Heartbeat

_WAIT = 1.0
_HANGS = 60.0
"""Seconds without coming round after which this thread counts as hung."""


class HintMailbox:
    """Where one thread leaves hints and another takes them."""

    def __init__(self) -> None:
        self._hints = Hints()
        self._lock = threading.Lock()
        self._news = threading.Event()
        self.keys = threading.Event()
        """Set when a key may have been accepted or deleted."""
        self._expected: frozenset[str] = frozenset()

    def leave(self, tag: str, minion: str = "") -> None:
        """Leave what a tag hints at."""
        with self._lock:
            if self._hints.take(tag, minion):
                self._news.set()
        # A key that is accepted without a person, is so with an authentication alone.
        if tag == KEY_TAG or minion in self._expected:
            self.keys.set()

    def expect(self, minions: frozenset[str]) -> None:
        """Take whose authentication is news of a key."""
        self._expected = minions

    def take(self, wait: float) -> Hints:
        """Return what was left since the last time; wait for it, but not for long."""
        self._news.wait(wait)
        with self._lock:
            self._news.clear()
            taken, self._hints = self._hints, Hints()
        return taken


class EventListener:
    """Runs in a thread of its own."""

    def __init__(self, board: HintMailbox, opts: dict[str, Any], stop: threading.Event) -> None:
        self._board = board
        self._opts = opts
        self._stop = stop
        self.heartbeat = Heartbeat(_HANGS)

    def run(self) -> None:
        """Go on until told to stop."""
        with open_event_stream(self._opts) as ear:
            while not self._stop.is_set():
                self.heartbeat.beat()
                begun = time.monotonic()
                heard = ear.next(_WAIT)
                if heard is not None:
                    self._board.leave(heard.tag, heard.minion)
                elif time.monotonic() - begun < _WAIT / 2:
                    # The bus is not there, as while the master starts.
                    self._stop.wait(_WAIT / 2)
