"""What a probe on a host has seen: its record, and how to wait for a line in it."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict, dataclass
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


@dataclass(frozen=True, slots=True)
class Count:
    """A probe's counters, as of a moment."""

    values: dict[str, float]

    def __getitem__(self, name: str) -> float:
        return self.values.get(name, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """A probe that runs on a host, and what it wrote."""

    source: str
    how: str
    target: str
    port: int
    path: Path
    process: Process

    @classmethod
    def start(
        cls, host: Host, how: str, target: str, address: str, port: int, *, folder: Path
    ) -> Probe:
        """Start it; ``how`` is connect or flow, ``target`` the name that goes with the address."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{host.name}-{how}-{target}-{time.monotonic_ns()}.jsonl"
        argv = [sys.executable, "-IS", script.__file__, str(path), how, address, str(port)]
        child = host.popen(argv, log=path.with_suffix(".log"))
        child.returncode = 0  # It may outlive us, and is ended by its identity.
        return cls(
            source=host.name, how=how, target=target, port=port, path=path,
            process=Process.of(child.pid),
        )  # fmt: skip

    def stop(self) -> Count:
        """End it, once each attempt under way has its answer; the last count."""
        end([self.process], grace=2 * script.PATIENCE + 10)
        return self.count()

    def sights(self, *, since: float = 0.0) -> list[Sight]:
        """Every change that was seen, oldest first."""
        text = self.path.read_text() if self.path.exists() else ""
        whole = text[: text.rfind("\n") + 1].splitlines()
        return [sight for line in whole if (sight := Sight(**json.loads(line))).at >= since]

    def state(self) -> str:
        """The last thing that was seen; empty before the first."""
        found = self.sights()
        return found[-1].what if found else ""

    def count(self) -> Count:
        """The newest counters, at most a quarter of a second old while it runs."""
        path = self.path.with_suffix(".count")
        return Count(json.loads(path.read_text()) if path.exists() else {})

    def wait(self, what: str, *, since: float = 0.0, within: float) -> Sight:
        """Wait until the last thing seen is this, and was seen after ``since``."""
        begin = time.monotonic()
        while True:
            found = self.sights()
            if found and found[-1].what == what and found[-1].at >= since:
                return found[-1]
            if not self.process.alive:
                raise LabError(f"the probe from {self.source} to {self.target} has ended")
            if time.monotonic() - begin > within:
                raise TookTooLong(
                    f"{self.target}:{self.port} was not seen {what} from {self.source} within"
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


def _seen(found: list[Sight], *, since: float) -> str:
    """What was seen since then; a record begins with the world, and most of it is of others."""
    before = [sight for sight in found if sight.at < since]
    after = [
        f"{sight.what} after {sight.at - since:.2f} s" + (f" ({sight.why})" if sight.why else "")
        for sight in found
        if sight.at >= since
    ]
    return f"it was {before[-1].what if before else 'not seen'} before, then " + (
        ", ".join(after) or "nothing changed"
    )
