"""The real traffic of a world: the minions' service, and probes from the other hosts to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.errors import LabError
from lab.network.host import Host
from lab.traffic.probe import Probe
from lab.traffic.service import PORT

KINDS = ("connect", "flow")


@dataclass(frozen=True, slots=True)
class Traffic:
    """The probes from one host to the minions."""

    probes: tuple[Probe, ...] = ()

    @classmethod
    def start(
        cls, host: Host, minions: Sequence[Host], *, kinds: Sequence[str] = KINDS, folder: Path
    ) -> Traffic:
        """Probe the service of every minion, with fresh connections and one that is kept."""
        return cls(
            tuple(
                Probe.start(host, kind, minion.name, str(minion.addresses.v4), PORT, folder=folder)
                for minion in minions
                for kind in kinds
            )
        )

    def connect(self, minion: str = "minion1") -> Probe:
        """The one that tries a fresh connection every 10 ms."""
        return self._probe("connect", minion)

    def flow(self, minion: str = "minion1") -> Probe:
        """The one that keeps a connection and sends all the time."""
        return self._probe("flow", minion)

    def stop(self) -> None:
        for probe in self.probes:
            probe.stop()

    def _probe(self, kind: str, target: str) -> Probe:
        for probe in self.probes:
            if (probe.kind, probe.target) == (kind, target):
                return probe
        raise LabError(f"no {kind} probe to {target} is running")
