"""The file backend.json, through which another Python process finds a running back end again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lab.process import Process


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendFile:
    """The kind of a back end, where it listens, and its processes by their names."""

    name: str
    address: str
    port: int
    processes: Mapping[str, Process]

    @classmethod
    def read(cls, folder: Path) -> BackendFile | None:
        """The record in this folder, or None."""
        file = folder / "backend.json"
        if not file.exists():
            return None
        record = json.loads(file.read_text())
        processes = {name: Process(*pair) for name, pair in record.pop("processes").items()}
        return cls(**record, processes=processes)

    def write(self, folder: Path) -> None:
        """Replace the record as a whole: a reader sees the old one or the new one."""
        record = {
            "name": self.name,
            "address": self.address,
            "port": self.port,
            "processes": {name: [one.pid, one.started] for name, one in self.processes.items()},
        }
        fresh = folder / "backend.json.new"
        fresh.write_text(json.dumps(record))
        fresh.rename(folder / "backend.json")
