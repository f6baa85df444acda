"""A daemon on a host: started, stopped, killed, found again by a later command."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from pathlib import Path

from lab.host import Host
from lab.kubernetes.process import Process
from lab.process import end, in_group


class Daemon:
    """A process in a session of its own, with everything that it forks."""

    def __init__(
        self, host: Host, argv: Sequence[str], *, log: Path, process: Process | None = None
    ):
        self.host = host
        self.argv = tuple(argv)
        self.log = log
        self.process = process

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.alive

    def start(self) -> None:
        """Start it, unless it runs; returns at once."""
        if self.alive:
            return
        child = self.host.popen(self.argv, log=self.log)
        child.returncode = 0  # It may outlive us, and is ended by its identity.
        self.process = Process.of(child.pid)

    def stop(self, *, grace: float = 10.0) -> None:
        """End it as an init system does: ask first."""
        if self.process is None:
            return
        everyone = in_group(self.process.pid) if self.process.alive else []
        end([self.process], grace=grace)
        end(everyone)

    def kill(self) -> None:
        """End it and its children without a word, as a power cut does."""
        if self.process is None or not self.process.alive:
            return
        # Held still first, so that nobody is forked while we look.
        self.process.send(signal.SIGSTOP)
        end(in_group(self.process.pid))
