"""
A process of the lab, known by its id and start time, never by its name.

It can be stopped, frozen and looked up by another Python process than the one that started it
(`lab up` starts, `lab down` stops). A process id that the kernel has reused since is never touched.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lab.errors import TookTooLong
from lab.polling import wait_until


class Launch(Protocol):
    """How a process is started: as it is, or inside a host's network namespace."""

    def __call__(
        self, argv: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]: ...


def launch(
    argv: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start a process in the namespaces of this one, its output appended to a file."""
    with log.open("ab") as output:
        return subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, **env} if env else None,
            start_new_session=True,  # Ctrl-C is for the lab, which stops them in order
        )


@dataclass(frozen=True, slots=True)
class Process:
    """One running program; two of the same id and start time are the same process."""

    pid: int
    started: int  # clock ticks since boot, field 22 of /proc/<pid>/stat

    @classmethod
    def of(cls, pid: int) -> Process:
        return cls(pid, _stat(pid)[1])

    @property
    def alive(self) -> bool:
        try:
            state, started = _stat(self.pid)
        except OSError:
            return False
        if state == "Z":
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self.pid, os.WNOHANG)
            return False
        return started == self.started

    def send(self, number: signal.Signals) -> None:
        if self.alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def freeze(self) -> None:
        self.send(signal.SIGSTOP)

    def thaw(self) -> None:
        self.send(signal.SIGCONT)

    def kill(self) -> None:
        """As a power cut does."""
        self.send(signal.SIGKILL)
        self._gone_within(10)

    def stop(self, seconds: float) -> None:
        """Ask it to end, and kill it after the given time."""
        self.send(signal.SIGTERM)
        self.thaw()  # a frozen process does not see the signal
        if not self._gone_within(seconds):
            self.kill()

    def _gone_within(self, seconds: float) -> bool:
        limit = time.monotonic() + seconds
        while self.alive:
            if time.monotonic() > limit:
                return False
            time.sleep(0.01)
        return True


def end(processes: Iterable[Process], *, grace: float = 0.0) -> None:
    """Ask processes to end, and kill them after the grace."""
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


def _all_pids() -> list[int]:
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]  # noqa: PTH208


def in_group(leader: int) -> list[Process]:
    """The processes of a process group: a daemon and what it forked."""
    found = []
    for pid in _all_pids():
        with contextlib.suppress(OSError):
            if os.getpgid(pid) == leader:
                found.append(Process.of(pid))
    return found


def in_namespace(path: Path) -> list[Process]:
    """The processes in a network namespace of the lab, all of which belong to the lab."""
    try:
        wanted = path.stat()
    except FileNotFoundError:
        return []
    found = []
    for pid in _all_pids():
        # Ended meanwhile, or the machine's own: in a container even root may not inspect all.
        with contextlib.suppress(OSError):
            here = os.stat(f"/proc/{pid}/ns/net")  # noqa: PTH116
            if (here.st_ino, here.st_dev) == (wanted.st_ino, wanted.st_dev):
                found.append(Process.of(pid))
    return [process for process in found if process.alive]


def _stat(pid: int) -> tuple[str, int]:
    # The command's name is in parentheses and may hold anything, so count from the last one.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return fields[0], int(fields[19])
