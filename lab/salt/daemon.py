"""A daemon on a host: started, stopped, killed, and found again by a later command."""

from __future__ import annotations

import json
import signal
from collections.abc import Sequence

from lab.network.host import Host
from lab.process import Process, end, in_group


class Daemon:
    """A process in a session of its own, with everything that it forks."""

    def __init__(self, host: Host, name: str, argv: Sequence[str]) -> None:
        self.host = host
        self.name = name
        self.argv = tuple(argv)
        self.log = host.logs / f"{name}.log"
        self._process_file = host.folder / f"{name}.process"

    @property
    def process(self) -> Process | None:
        """The process that was started last, by this process or another one."""
        if not self._process_file.exists():
            return None
        return Process(*json.loads(self._process_file.read_text()))

    @property
    def alive(self) -> bool:
        process = self.process
        return process is not None and process.alive

    def start(self) -> None:
        """Start it, unless it runs; returns at once."""
        if self.alive:
            return
        # As a boot does. After a kill, a pid file may name a process that waits to be reaped, in a
        # container perhaps for ever: to Salt it looks alive.
        for written in self.host.folder.glob(f"var/run/*{self.name}.pid"):
            written.unlink()
        child = self.host.popen(self.argv, log=self.log)
        child.returncode = 0  # It may outlive this process, and is ended by its identity.
        process = Process.of(child.pid)
        self._process_file.write_text(json.dumps([process.pid, process.started]))

    def stop(self, *, grace: float = 10.0) -> None:
        """End it as an init system does: ask first."""
        process = self.process
        if process is not None and process.alive:
            group = in_group(process.pid)
            end([process], grace=grace)
            end(group)

    def kill(self) -> None:
        """End it and its children at once, as a power cut does."""
        process = self.process
        if process is not None and process.alive:
            # Held still first, so that it cannot fork during the search.
            process.send(signal.SIGSTOP)
            end(in_group(process.pid))
