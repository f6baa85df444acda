"""The real traffic of a world: the minions' service, and probes from the other hosts to it."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab import echo
from lab.errors import LabError, TookTooLong
from lab.host import Host
from lab.kubernetes.process import Process
from lab.record import Probe

PORT = 5432
HOW = ("connect", "flow")


def offer(minion: Host, *, log: Path) -> None:
    """Start the service of a minion and wait until it listens; it ends with its host."""
    argv = [sys.executable, "-IS", "-u", echo.__file__, str(PORT)]
    child = minion.popen(argv, log=log)
    begin = time.monotonic()
    while "ready" not in log.read_text():
        if child.poll() is not None:
            raise LabError(f"the service of {minion.name} does not start: {log.read_text()}")
        if time.monotonic() - begin > 10:
            raise TookTooLong(f"the service of {minion.name} did not start within 10 s")
        time.sleep(0.005)
    child.returncode = 0


@dataclass(frozen=True, slots=True)
class Traffic:
    """The probes from one host, by how they probe and the minion that they probe."""

    probes: Mapping[tuple[str, str], Probe]

    @classmethod
    def start(
        cls, host: Host, minions: Mapping[str, Host], *, how: Sequence[str] = HOW, folder: Path
    ) -> Traffic:
        """Probe the service of every minion, with fresh connections and one that is kept."""
        return cls(
            {
                (one, name): Probe.start(host, one, str(minion.addresses.v4), PORT, folder=folder)
                for name, minion in minions.items()
                for one in how
            }
        )

    def connect(self, minion: str = "minion1") -> Probe:
        """The one that tries a fresh connection every 10 ms."""
        return self.probes["connect", minion]

    def flow(self, minion: str = "minion1") -> Probe:
        """The one that keeps a connection and sends all the time."""
        return self.probes["flow", minion]

    def __iter__(self) -> Iterator[Probe]:
        return iter(self.probes.values())

    def stop(self) -> None:
        for probe in self:
            probe.stop()

    def to_json(self) -> list[dict[str, Any]]:
        return [
            {
                "how": how, "minion": minion, "source": probe.source, "target": probe.target,
                "port": probe.port, "path": str(probe.path),
                "process": [probe.process.pid, probe.process.started],
            }
            for (how, minion), probe in self.probes.items()
        ]  # fmt: skip

    @classmethod
    def from_json(cls, written: list[dict[str, Any]]) -> Traffic:
        return cls(
            {
                (one["how"], one["minion"]): Probe(
                    one["source"], one["target"], one["port"], Path(one["path"]),
                    Process(*one["process"]),
                )
                for one in written
            }
        )  # fmt: skip
