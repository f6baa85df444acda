"""CPU, time and memory of a worker, and how it reports them."""

from __future__ import annotations

import gc
import json
import time
from pathlib import Path

_SELF = Path("/proc/self")


class Meter:
    """CPU seconds, wall seconds and peak memory since it was made."""

    def __init__(self) -> None:
        gc.collect()
        # Writing 5 resets the peak to what is resident now.
        (_SELF / "clear_refs").write_text("5")
        self._resident = _status("VmRSS")
        self._cpu = time.process_time()
        self._wall = time.monotonic()

    def read(self) -> dict[str, float]:
        """Return what was used; ``peak`` and ``kept`` are MiB of memory above the start."""
        used = {
            "cpu": time.process_time() - self._cpu,
            "wall": time.monotonic() - self._wall,
            "peak": (_status("VmHWM") - self._resident) / 1024,
        }
        gc.collect()
        return {**used, "kept": (_status("VmRSS") - self._resident) / 1024}


def _status(name: str) -> int:
    for line in (_SELF / "status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    raise LookupError(name)


def emit(**figures: object) -> None:
    """Print figures as one JSON line, which the benchmark waits for."""
    print(json.dumps(figures), flush=True)
