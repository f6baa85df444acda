"""
The open watches: what is written to each of them, and what can be done to them while they are open.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping
from typing import Any, Protocol

from lab.kubernetes.emulator import actions
from lab.kubernetes.emulator.actions import Action
from lab.kubernetes.emulator.store import Store
from lab.kubernetes.emulator.watch import Line, Watch, too_old

_LOOK_SECONDS = 0.25  # how often a silent stream looks whether its client is still there
_ORDER_SECONDS = 5.0


class Pipe(Protocol):
    """The connection under a stream."""

    def chunk(self, content: bytes) -> None: ...
    def half_chunk(self, content: bytes) -> None: ...
    def last_chunk(self) -> None: ...
    def drop(self, *, reset: bool) -> None: ...
    @property
    def abandoned(self) -> bool: ...


class Stream:
    """One open watch and its script."""

    def __init__(self, store: Store, watch: Watch, pipe: Pipe, about: Mapping[str, Any]) -> None:
        self._store, self._watch, self._pipe = store, watch, pipe
        self._orders: deque[tuple[Action, threading.Event]] = deque()
        self._script: Action = {}
        self._sent = 0
        self._frozen = False
        self._ended = False
        self.about = about

    def order(self, action: Action) -> threading.Event:
        """Have something done once all events up to now are written; called from another thread."""
        done = threading.Event()
        with self._store.changed:
            if self._ended:
                done.set()
            else:
                self._orders.append((action, done))
                self._store.changed.notify_all()
        return done

    def run(self, script: Action | None = None) -> None:
        """Write until the end, whichever comes first: the watch's, the script's, the client's."""
        try:
            self._begin(script or {})
            while not (self._pipe.abandoned or self._step()):
                pass
        finally:
            with self._store.changed:
                self._ended = True
                for _, done in self._orders:
                    done.set()

    def _begin(self, script: Action) -> None:
        self._script, self._sent = script, 0
        for text in script.get("lines", ()):
            self._pipe.chunk(text.encode() + b"\n")

    def _step(self) -> bool:
        """Wait for something and deal with it; True at the end."""
        if (
            self._due
            and self._script["then"] not in _ON_A_LINE
            and self._stop(self._script["then"])
        ):
            return True
        # Events that were there before an order are written before it is carried out.
        orders = len(self._orders)
        lines = self._watch.lines(time.monotonic() + _LOOK_SECONDS, lambda: bool(self._orders))
        if lines is None and not self._frozen:
            self._pipe.last_chunk()
            return True
        if self._frozen:
            # Whatever comes is lost in the frozen connection, and so is the end of the watch.
            lines = []
            time.sleep(_LOOK_SECONDS / 10)
        return any(self._write(line) for line in lines or ()) or any(
            self._carry_out(*self._orders.popleft()) for _ in range(orders)
        )

    def _carry_out(self, order: Action, done: threading.Event) -> bool:
        """Do what was ordered; True at the end."""
        try:
            if "bookmark" in order:
                if self._watch.takes_bookmarks:
                    self._pipe.chunk(self._watch.bookmark(order["bookmark"]).raw)
            elif "thaw" in order:
                self._frozen = False
            elif "stop" in order:
                return self._stop(order["stop"], b'{"type":"MODIFIED","object":{"kind":"Node","api')
            else:
                self._begin(order["stream"])
            return False
        finally:
            done.set()

    @property
    def _due(self) -> bool:
        return bool(self._script.get("then")) and self._sent >= self._script.get("after", 0)

    def _write(self, line: Line) -> bool:
        """Write a line as the script wants it; True at the end."""
        if self._frozen or self._dropped(line):
            return False
        if pause := self._script.get("pause"):
            time.sleep(pause)
        if self._due and self._script["then"] in _ON_A_LINE:
            return self._stop(self._script["then"], line.raw[: len(line.raw) // 2])
        self._pipe.chunk(line.raw)
        self._sent += 1
        return (
            self._due
            and self._script["then"] not in _ON_A_LINE
            and self._stop(self._script["then"])
        )

    def _dropped(self, line: Line) -> bool:
        if line.kind not in self._script.get("drop", ()):
            return False
        names = self._script.get("names")
        return not names or line.name in names

    def _stop(self, how: str, half: bytes = b"") -> bool:
        if how == actions.FREEZE:
            self._frozen = True
            self._script = {}
            return False
        if how == actions.CUT:
            self._pipe.half_chunk(half)
            self._pipe.drop(reset=False)
        elif how == actions.TRUNCATE:
            self._pipe.chunk(half)
            self._pipe.last_chunk()
        elif how == actions.RESET:
            self._pipe.drop(reset=True)
        elif how == actions.GONE:
            self._pipe.chunk(too_old(self._watch.position, self._store.version).raw)
            self._pipe.last_chunk()
        else:
            self._pipe.last_chunk()
        return True


_ON_A_LINE = (actions.CUT, actions.TRUNCATE)


class Streams:
    """All open watches."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: list[Stream] = []

    def add(self, stream: Stream) -> None:
        with self._lock:
            self._open.append(stream)

    def remove(self, stream: Stream) -> None:
        with self._lock:
            self._open.remove(stream)

    def order(self, action: Action, user: str = "") -> int:
        """Give an order to all streams (of one user) and wait for its end; returns how many."""
        with self._lock:
            chosen = [one for one in self._open if user in ("", one.about["user"])]
        for done in [stream.order(action) for stream in chosen]:
            done.wait(_ORDER_SECONDS)
        return len(chosen)

    def about(self) -> list[Mapping[str, Any]]:
        with self._lock:
            return [stream.about for stream in self._open]
