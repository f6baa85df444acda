"""What the kernel knows of a process."""

from __future__ import annotations

import os
import time
from pathlib import Path


def started_at(pid: int) -> float | None:
    """Return when a process began, in seconds since the epoch; None when it does not exist."""
    fields = _fields(pid)
    if fields is None:
        return None
    ago = time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return time.time() - ago


def parent(pid: int) -> int | None:
    """Return the parent of a process; None when that has ended."""
    fields = _fields(pid)
    parent_pid = int(fields[1]) if fields is not None else 0
    return parent_pid if parent_pid > 1 else None


def is_stopped(pid: int) -> bool:
    """Whether a signal (SIGSTOP) has stopped a process, so that it exists and does nothing."""
    fields = _fields(pid)
    return fields is not None and fields[0] in ("T", "t")


def _fields(pid: int) -> list[str] | None:
    try:
        # The command's name stands before them, in brackets, and may have any character.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
