"""Locks between the processes of a master, which the kernel gives back when a process dies."""

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
"""Held while somebody decides what to publish."""
STORE = "store.lock"
"""Held while the store's file is opened or set aside."""


@contextlib.contextmanager
def exclusive(path: Path, *, wait: bool = False, within: float = 0.0) -> Iterator[bool]:
    """
    Hold a lock, between threads too; False when somebody else does.

    It is waited for with ``wait``, or for so many seconds.
    """
    descriptor = _open(path)
    try:
        if wait:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield wait or _taken_within(descriptor, within)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def engine_lock(path: Path, stop: threading.Event) -> Iterator[None]:
    """Hold a lock; wait for whoever has it, a master that is going down perhaps."""
    descriptor = _open(path)
    try:
        if not _taken(descriptor, fcntl.LOCK_EX):
            log.warning("%s is held by another engine; waiting for it to end", path)
            while not stop.wait(0.2) and not _taken(descriptor, fcntl.LOCK_EX):
                pass
        # The number is only for people: a full disk must not end an engine that can go on.
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def lock_holder(path: Path) -> int | None:
    """Return the process that holds the lock of :func:`engine_lock`, None when nobody does."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return None if _taken(descriptor, fcntl.LOCK_SH) else _told(descriptor) or 0
    finally:
        os.close(descriptor)


def last_lock_holder(path: Path) -> int | None:
    """Return the process that held the lock of :func:`engine_lock` last, alive or not."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return _told(descriptor)
    finally:
        os.close(descriptor)


def _told(descriptor: int) -> int | None:
    told = os.pread(descriptor, 20, 0).strip()
    return int(told) if told.isdigit() else None


def _open(path: Path) -> int:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)


def _taken_within(descriptor: int, seconds: float) -> bool:
    until = time.monotonic() + seconds
    while not (taken := _taken(descriptor, fcntl.LOCK_EX)) and time.monotonic() < until:
        time.sleep(0.01)
    return taken


def _taken(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
