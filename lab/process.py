"""Finding, ending and waiting for processes; never by a name, never a recycled pid."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from lab.errors import TookTooLong
from lab.kubernetes.process import Process


def wait_until(
    true: Callable[[], object], *, within: float, what: str, every: float = 0.01
) -> float:
    """Wait for a condition, bounded; how many seconds it took."""
    begin = time.monotonic()
    while not true():
        if time.monotonic() - begin > within:
            raise TookTooLong(f"{what} did not happen within {within:g} s")
        time.sleep(every)
    return time.monotonic() - begin


def end(processes: Iterable[Process], *, grace: float = 0.0) -> None:
    """Ask processes to end, and after the grace make them."""
    left = [process for process in processes if process.alive]

    def over() -> bool:
        return not any(process.alive for process in left)

    if grace:
        for process in left:
            process.send(signal.SIGTERM)
        with contextlib.suppress(TookTooLong):
            wait_until(over, within=grace, what="a clean end")
    for process in left:
        process.send(signal.SIGKILL)
    wait_until(over, within=60, what="the end of a killed process")


def _all() -> list[int]:
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]  # noqa: PTH208


def in_group(leader: int) -> list[Process]:
    """The processes of a process group: a daemon and what it forked."""
    found = []
    for pid in _all():
        with contextlib.suppress(OSError):
            if os.getpgid(pid) == leader:
                found.append(Process.of(pid))
    return found


def in_namespace(path: Path) -> list[Process]:
    """The processes whose network namespace is the named one: whoever they are, they are ours."""
    try:
        wanted = path.stat()
    except FileNotFoundError:
        return []
    found = []
    for pid in _all():
        # Gone in the meantime, or the machine's own: in a container even root may not look at all.
        with contextlib.suppress(OSError):
            here = os.stat(f"/proc/{pid}/ns/net")  # noqa: PTH116
            if (here.st_ino, here.st_dev) == (wanted.st_ino, wanted.st_dev):
                found.append(Process.of(pid))
    return [process for process in found if process.alive]
