"""What the kernel tells of a process."""

from __future__ import annotations

import os
import time
from pathlib import Path


def started_at(pid: int) -> float | None:
    """Return when a process began, in seconds since the epoch; None when it is not there."""
    fields = _fields(pid)
    if fields is None:
        return None
    ago = time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return time.time() - ago


def parent(pid: int) -> int | None:
    """Return who started a process; None when that has ended itself."""
    fields = _fields(pid)
    found = int(fields[1]) if fields is not None else 0
    return found if found > 1 else None


def is_stopped(pid: int) -> bool:
    """Whether somebody has stopped a process with a signal, so that it only seems to live."""
    fields = _fields(pid)
    return fields is not None and fields[0] in ("T", "t")


def _fields(pid: int) -> list[str] | None:
    try:
        # The command's name stands before them, in brackets, and may hold anything.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
