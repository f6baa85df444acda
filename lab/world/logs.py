"""The log files of a world, and a copy of them that outlives it."""

from __future__ import annotations

import shutil
from pathlib import Path

COPIES = Path(__file__).parents[2] / "build" / "logs"


def files(folder: Path, host: str = "*") -> list[Path]:
    """The log files of a host, or of all; those of the Kubernetes API belong to ``kube``."""
    found = list(folder.glob(f"hosts/{host}/logs/*.log"))
    if host in ("*", "kube"):
        found += folder.glob("api/**/*.log")
    return sorted(found)


def save(folder: Path, world: str) -> Path:
    """Copy all log files to build/logs, and return the folder of the copies."""
    copies = COPIES / world
    shutil.rmtree(copies, ignore_errors=True)
    for path in files(folder):
        copy = copies / path.relative_to(folder)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, copy)
    return copies
