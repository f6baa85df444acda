"""Threads that only make sense together: started, watched, and replaced when one dies or hangs."""

from __future__ import annotations

import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

log = logging.getLogger(__name__)

_AGAIN = 5.0
"""Seconds before a group that fell is started again."""


class Heartbeat:
    """Says that a thread is alive; times are monotonic seconds."""

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._at = time.monotonic()

    def beat(self) -> None:
        """Take that the thread has come round."""
        self._at = time.monotonic()

    def silent_for(self) -> float:
        """Return the seconds since the last beat, 0 while that is within patience."""
        silence = time.monotonic() - self._at
        return silence if silence > self._patience else 0.0


class Worker(Protocol):
    """What runs in one thread until it is told to stop."""

    pulse: Heartbeat

    def run(self) -> None:
        """Run until told to stop."""


Make = Callable[[threading.Event], Mapping[str, Worker]]
"""Makes the parts of a group, by name, that all stop with one event."""


@dataclass(slots=True)
class Supervisor:
    """One group; ``check`` is called every second or so from the engine's main thread."""

    name: str
    make: Make
    _parts: Mapping[str, Worker] = field(default_factory=dict)
    _threads: Mapping[str, threading.Thread] = field(default_factory=dict)
    _stop: threading.Event = field(default_factory=threading.Event)
    _start_at: float = 0.0

    def check(self) -> None:
        """Start what does not run, give up what hangs."""
        now = time.monotonic()
        if self._parts and self._stop.is_set():
            self._fell(now)
        for what, part in self._parts.items():
            if silence := part.pulse.silent_for():
                log.error(
                    "%s: %s has hung for %.0f s; starting again; it is at\n%s",
                    *(self.name, what, silence, _stack(self._threads[what])),
                )
                self.stop()
                self._fell(now)
                break
        if not self._parts and now >= self._start_at:
            self._start()

    def stop(self) -> None:
        """Tell every part to stop; they are daemon threads and are not waited for."""
        self._stop.set()

    def _fell(self, now: float) -> None:
        self._parts = {}
        self._start_at = now + _AGAIN

    def _start(self) -> None:
        self._stop = threading.Event()
        try:
            self._parts = self.make(self._stop)
        except Exception:
            log.exception("%s: cannot start; trying again in %.0f s", self.name, _AGAIN)
            self._fell(time.monotonic())
            return
        self._threads = {
            what: threading.Thread(
                target=partial(_run, part, f"{self.name}: {what}", self._stop),
                name=f"k8s_nodes {self.name} {what}",
                daemon=True,
            )
            for what, part in self._parts.items()
        }
        for thread in self._threads.values():
            thread.start()


def _stack(thread: threading.Thread) -> str:
    """Return where a thread is now, the innermost call last."""
    frame = sys._current_frames().get(thread.ident or 0)  # noqa: SLF001  the documented way
    return "".join(traceback.format_stack(frame)).rstrip() if frame else "no place: it has ended"


def _run(part: Worker, name: str, stop: threading.Event) -> None:
    try:
        part.run()
    except Exception:
        log.exception("%s: an error of our own; starting again in %.0f s", name, _AGAIN)
    else:
        if not stop.is_set():
            log.error("%s: stopped; starting again in %.0f s", name, _AGAIN)
    finally:
        stop.set()
