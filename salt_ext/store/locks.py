"""Locks between the processes of a master; the kernel frees them when a process dies."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

log = logging.getLogger(__name__)

ENGINE = "engine.lock"
"""Held while an engine lives."""
APPLY = "apply.lock"
"""Held while a process selects minions and publishes to them."""
STORE = "store.lock"
"""Held while the store's file is opened or set aside."""
DECISIONS = "decisions.lock"
"""Held while the file of decisions is replaced."""


@contextlib.contextmanager
def exclusive(path: Path, *, wait: bool = False, timeout: float = 0.0) -> Iterator[bool]:
    """
    Hold a lock, between threads too; False while another process or thread holds it.

    ``wait`` waits for it without end, ``timeout`` for so many seconds.
    """
    descriptor = _open(path)
    try:
        if wait:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield wait or _try_lock_for(descriptor, timeout)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def engine_lock(path: Path, stop: threading.Event) -> Iterator[None]:
    """Hold the engine's lock; wait while another engine holds it, until ``stop`` is set."""
    descriptor = _open(path)
    try:
        if not _try_lock(descriptor, fcntl.LOCK_EX):
            log.warning(
                "engine: process %s holds %s; waiting for it to end [engine-lock-wait]",
                _read_pid(descriptor) or "(unknown)",
                path,
            )
            while not stop.wait(0.2) and not _try_lock(descriptor, fcntl.LOCK_EX):
                pass
        # The number only informs people: a full disk must not end an engine that can go on.
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def lock_holder(path: Path) -> int | None:
    """Return the process that holds the lock of :func:`engine_lock`; None when it is free."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return None if _try_lock(descriptor, fcntl.LOCK_SH) else _read_pid(descriptor) or 0
    finally:
        os.close(descriptor)


def last_lock_holder(path: Path) -> int | None:
    """Return the process that held the lock of :func:`engine_lock` last, alive or not."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return _read_pid(descriptor)
    finally:
        os.close(descriptor)


def _read_pid(descriptor: int) -> int | None:
    digits = os.pread(descriptor, 20, 0).strip()
    return int(digits) if digits.isdigit() else None


def _open(path: Path) -> int:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)


def _try_lock_for(descriptor: int, seconds: float) -> bool:
    until = time.monotonic() + seconds
    while not (locked := _try_lock(descriptor, fcntl.LOCK_EX)) and time.monotonic() < until:
        time.sleep(0.01)
    return locked


def _try_lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
