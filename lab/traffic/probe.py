"""A probe on a host: the record that it writes, and how to wait for a line in it."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lab.errors import LabError, TookTooLong
from lab.network.host import Host
from lab.process import Process, end
from lab.traffic import prober


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """A change that a probe saw: to open or closed; to flowing, stopped or ended."""

    state: str
    at: float
    reason: str = ""
    began: float = 0.0
    """When the attempt started that shows it; 0 where the record does not say."""


@dataclass(frozen=True, slots=True)
class Count:
    """A probe's counters, as of a moment."""

    values: dict[str, float]

    def __getitem__(self, name: str) -> float:
        return self.values.get(name, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """A probe that runs on a host, and the record that it writes."""

    source: str
    kind: str
    target: str
    port: int
    path: Path
    process: Process

    @classmethod
    def start(
        cls, host: Host, kind: str, target: str, address: str, port: int, *, folder: Path
    ) -> Probe:
        """Start it; ``kind`` is connect or flow, ``target`` the name that goes with the address."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{host.name}-{kind}-{target}-{time.monotonic_ns()}.jsonl"
        argv = [sys.executable, "-IS", prober.__file__, str(path), kind, address, str(port)]
        child = host.popen(argv, log=path.with_suffix(".log"))
        child.returncode = 0  # It may outlive this process, and is ended by its identity.
        return cls(
            source=host.name, kind=kind, target=target, port=port, path=path,
            process=Process.of(child.pid),
        )  # fmt: skip

    def stop(self) -> Count:
        """End it, once each attempt under way has its answer; the last count."""
        end([self.process], grace=2 * prober.PATIENCE + 10)
        return self.count()

    def transitions(self, *, since: float = 0.0) -> list[Transition]:
        """Every change that was seen, oldest first."""
        text = self.path.read_text() if self.path.exists() else ""
        whole = text[: text.rfind("\n") + 1].splitlines()
        return [one for line in whole if (one := Transition(**json.loads(line))).at >= since]

    def state(self) -> str:
        """The last thing that was seen; empty before the first."""
        found = self.transitions()
        return found[-1].state if found else ""

    def count(self) -> Count:
        """The newest counters, at most a quarter of a second old while it runs."""
        path = self.path.with_suffix(".count")
        return Count(json.loads(path.read_text()) if path.exists() else {})

    def wait(self, state: str, *, since: float = 0.0, within: float) -> Transition:
        """Wait until the last thing seen is this, by an attempt not older than ``since``."""
        begin = time.monotonic()
        while True:
            found = self.transitions()
            if found and found[-1].state == state and (found[-1].began or found[-1].at) >= since:
                return found[-1]
            if not self.process.alive:
                raise LabError(f"the probe from {self.source} to {self.target} has ended")
            if time.monotonic() - begin > within:
                raise TookTooLong(
                    f"{self.target}:{self.port} was not seen {state} from {self.source} within"
                    f" {within:g} s; {_seen(found, since=since or begin)}"
                )
            time.sleep(0.02)

    def to_json(self) -> dict[str, Any]:
        process = [self.process.pid, self.process.started]
        return asdict(self) | {"path": str(self.path), "process": process}

    @classmethod
    def from_json(cls, written: dict[str, Any]) -> Probe:
        path, process = Path(written["path"]), Process(*written["process"])
        return cls(**(written | {"path": path, "process": process}))


def _seen(found: list[Transition], *, since: float) -> str:
    """What was seen since then; a record begins with the world, and most of it is of others."""
    before = [one for one in found if one.at < since]
    after = [
        f"{one.state} after {one.at - since:.2f} s" + (f" ({one.reason})" if one.reason else "")
        for one in found
        if one.at >= since
    ]
    return f"it was {before[-1].state if before else 'not seen'} before, then " + (
        ", ".join(after) or "nothing changed"
    )
