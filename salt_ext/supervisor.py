"""Runs threads that depend on each other, and restarts all of them when one crashes or hangs."""

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

_RESTART_DELAY = 5.0
"""Seconds from the end of a worker to the restart of its group."""


class Heartbeat:
    """The sign of life of one thread; times are monotonic seconds."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._last_beat = time.monotonic()

    def beat(self) -> None:
        """Record that the thread is alive."""
        self._last_beat = time.monotonic()

    def overdue_for(self) -> float:
        """Return the seconds since the last beat, 0 while they are within the timeout."""
        silence = time.monotonic() - self._last_beat
        return silence if silence > self._timeout else 0.0


class Worker(Protocol):
    """Work that runs in one thread until the group's stop event is set."""

    heartbeat: Heartbeat

    def run(self) -> None:
        """Run until the stop event is set."""


MakeWorkers = Callable[[threading.Event], Mapping[str, Worker]]
"""Returns the workers of a group by name; the event stops all of them."""


@dataclass(slots=True)
class Supervisor:
    """One group of workers; ``name`` is the prefix of its log lines, such as ``cluster prod``."""

    name: str
    make_workers: MakeWorkers
    _workers: Mapping[str, Worker] = field(default_factory=dict)
    _threads: Mapping[str, threading.Thread] = field(default_factory=dict)
    _stop: threading.Event = field(default_factory=threading.Event)
    _start_at: float = 0.0

    def ensure_running(self) -> None:
        """Start or restart the workers where needed; call it about once a second."""
        now = time.monotonic()
        if self._workers and self._stop.is_set():
            self._schedule_restart(now)
        for worker_name, worker in self._workers.items():
            if silence := worker.heartbeat.overdue_for():
                log.error(
                    "%s: %s has hung for %.0f s; restarting in %.0f s; its stack:\n%s\n"
                    "[worker-hung]",
                    self.name,
                    worker_name,
                    silence,
                    _RESTART_DELAY,
                    _stack(self._threads[worker_name]),
                )
                self.stop()
                self._schedule_restart(now)
                break
        if not self._workers and now >= self._start_at:
            self._start_workers()

    def stop(self) -> None:
        """Set the stop event; the threads are daemons, so this does not wait for them."""
        self._stop.set()

    def _schedule_restart(self, now: float) -> None:
        self._workers = {}
        self._start_at = now + _RESTART_DELAY

    def _start_workers(self) -> None:
        self._stop = threading.Event()
        try:
            self._workers = self.make_workers(self._stop)
        except Exception:
            log.exception(
                "%s: cannot start; retrying in %.0f s [workers-not-started]",
                self.name,
                _RESTART_DELAY,
            )
            self._schedule_restart(time.monotonic())
            return
        self._threads = {
            worker_name: threading.Thread(
                target=partial(_run, worker, f"{self.name}: {worker_name}", self._stop),
                name=f"k8s_nodes {self.name} {worker_name}",
                daemon=True,
            )
            for worker_name, worker in self._workers.items()
        }
        for thread in self._threads.values():
            thread.start()


def _stack(thread: threading.Thread) -> str:
    """Return the stack of a thread, the innermost call last."""
    frame = sys._current_frames().get(thread.ident or 0)  # noqa: SLF001  the documented way
    return "".join(traceback.format_stack(frame)).rstrip() if frame else "(the thread has ended)"


def _run(worker: Worker, name: str, stop: threading.Event) -> None:
    try:
        worker.run()
    except Exception:
        log.exception(
            "%s: unexpected error (bug); restarting in %.0f s [worker-crashed]",
            name,
            _RESTART_DELAY,
        )
    else:
        if not stop.is_set():
            log.error(
                "%s: stopped by itself; restarting in %.0f s [worker-stopped]",
                name,
                _RESTART_DELAY,
            )
    finally:
        stop.set()
