"""The real traffic of a world: the minions' service, and probes from the other hosts to it."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lab import echo
from lab.errors import LabError, TookTooLong
from lab.host import Host
from lab.record import Probe

PORT = 5432
HOW = ("connect", "flow")


def offer(minion: Host) -> None:
    """Start the service of a minion and wait until it listens; it ends with its host."""
    log = minion.logs / "service.log"
    argv = [sys.executable, "-IS", "-u", echo.__file__, str(PORT)]
    child = minion.popen(argv, log=log)
    begin = time.monotonic()
    while "ready" not in log.read_text():
        if child.poll() is not None:
            raise LabError(f"the service of {minion.name} does not start: {log.read_text()}")
        if time.monotonic() - begin > 60:
            raise TookTooLong(f"the service of {minion.name} did not start within 60 s")
        time.sleep(0.005)
    child.returncode = 0


@dataclass(frozen=True, slots=True)
class Traffic:
    """The probes from one host to the minions."""

    probes: tuple[Probe, ...] = ()

    @classmethod
    def start(
        cls, host: Host, minions: Sequence[Host], *, how: Sequence[str] = HOW, folder: Path
    ) -> Traffic:
        """Probe the service of every minion, with fresh connections and one that is kept."""
        return cls(
            tuple(
                Probe.start(host, one, minion.name, str(minion.addresses.v4), PORT, folder=folder)
                for minion in minions
                for one in how
            )
        )

    def connect(self, minion: str = "minion1") -> Probe:
        """The one that tries a fresh connection every 10 ms."""
        return self._one("connect", minion)

    def flow(self, minion: str = "minion1") -> Probe:
        """The one that keeps a connection and sends all the time."""
        return self._one("flow", minion)

    def stop(self) -> None:
        for probe in self.probes:
            probe.stop()

    def _one(self, how: str, target: str) -> Probe:
        for probe in self.probes:
            if (probe.how, probe.target) == (how, target):
                return probe
        raise LabError(f"there is no {how} probe to {target}")
