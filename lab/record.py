"""What a probe on a host has seen: its record, and how to wait for a line in it."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab import probe as script
from lab.errors import LabError, TookTooLong
from lab.host import Host
from lab.kubernetes.process import Process
from lab.process import end


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """One change that a probe saw: open or closed; flowing, stopped or ended."""

    what: str
    at: float
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """A probe's counters, as of a moment."""

    at: float
    final: bool
    values: dict[str, float]

    def __getitem__(self, name: str) -> float:
        return self.values.get(name, 0)


@dataclass(frozen=True, slots=True)
class Probe:
    """A probe that runs on a host, and what it wrote."""

    source: str
    target: str
    port: int
    path: Path
    process: Process

    @classmethod
    def start(cls, host: Host, how: str, target: str, port: int, *, folder: Path) -> Probe:
        """Start it; ``how`` is connect or flow."""
        folder.mkdir(parents=True, exist_ok=True)
        family = "v6" if ":" in target else "v4"
        stem = f"{host.name}-{how}-{family}-{time.monotonic_ns()}"
        path = folder / f"{stem}.jsonl"
        argv = [sys.executable, "-IS", script.__file__, str(path), how, target, str(port)]
        popen = host.popen(argv, log=folder / f"{stem}.log")
        popen.returncode = 0  # It may outlive us; ends by its identity.
        return cls(host.name, target, port, path, Process.of(popen.pid))

    def stop(self) -> Count:
        """End it, and return the last count."""
        end([self.process], grace=2 * script.PATIENCE + 2)
        return self.count()

    def _lines(self) -> Iterator[dict[str, Any]]:
        if not self.path.exists():
            return
        for line in self.path.read_text().splitlines(keepends=True):
            if line.endswith("\n"):
                yield json.loads(line)

    def sights(self, *, since: float = 0.0) -> list[Sight]:
        """Every change that was seen, oldest first."""
        return [
            Sight(what=line["what"], at=line["at"], why=line.get("why", ""))
            for line in self._lines()
            if line["what"] != "beat" and line["at"] >= since
        ]

    def state(self) -> str:
        """The last thing that was seen; empty before the first."""
        found = self.sights()
        return found[-1].what if found else ""

    def count(self) -> Count:
        """The newest counters."""
        found = [line for line in self._lines() if line["what"] == "beat"]
        last: dict[str, Any] = found[-1] if found else {"at": 0.0, "final": False}
        values = {k: v for k, v in last.items() if k not in ("at", "what", "final")}
        return Count(at=last["at"], final=last["final"], values=values)

    def wait(self, what: str, *, since: float = 0.0, within: float) -> Sight:
        """Wait until the state is this one, seen after ``since``, or was so already."""
        begin = time.monotonic()
        while True:
            found = self.sights()
            if found and found[-1].what == what and found[-1].at >= since:
                return found[-1]
            if not self.process.alive:
                raise LabError(f"the probe from {self.source} to {self.target} has died")
            if time.monotonic() - begin > within:
                seen = ", ".join(sight.what for sight in found) or "nothing"
                raise TookTooLong(
                    f"{self.target}:{self.port} was not seen {what} from {self.source} within"
                    f" {within:g} s; seen: {seen}"
                )
            time.sleep(0.02)
