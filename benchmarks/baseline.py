"""The committed figures of an earlier run, which each run is compared with."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from benchmarks.comparison import Comparison
from benchmarks.reference_loop import loop_cpu

PATH = Path(__file__).with_name("baseline.json")


@dataclass(frozen=True, slots=True)
class Baseline:
    """Ratios by part and name, each part with the machine that measured it."""

    parts: Mapping[str, Any] = field(default_factory=dict)

    def ratio(self, comparison: Comparison) -> float | None:
        """Return the ratio that the row had then; None for a new row."""
        row = self._rows(comparison.part).get(comparison.name)
        return None if row is None else float(row["ratio"])

    def change(self, comparison: Comparison) -> float | None:
        """Return by how many percent the ratio has grown; None where no percentage exists."""
        before = self.ratio(comparison)
        # Memory growth is often zero, sometimes below it.
        if before is None or before <= 0:
            return None
        return (comparison.ratio / before - 1) * 100

    def missing(self, comparisons: Sequence[Comparison]) -> list[str]:
        """Return the rows of the measured parts that this run does not have."""
        measured = {(row.part, row.name) for row in comparisons}
        return [
            f"{part}: {name}"
            for part in dict.fromkeys(row.part for row in comparisons)
            for name in self._rows(part)
            if (part, name) not in measured
        ]

    def replaced(
        self, comparisons: Iterable[Comparison], machine: Mapping[str, object]
    ) -> Baseline:
        """Return a baseline with the measured parts in place of the old ones; others stay."""
        fresh: dict[str, Any] = {}
        for row in comparisons:
            part = fresh.setdefault(row.part, {"machine": dict(machine), "rows": {}})
            part["rows"][row.name] = {
                "unit": row.unit,
                "ours": _rounded(row.ours),
                "peer": _rounded(row.peer),
                "ratio": _rounded(row.ratio),
            }
        return Baseline({**self.parts, **fresh})

    def _rows(self, part: str) -> Mapping[str, Any]:
        rows: Mapping[str, Any] = self.parts.get(part, {}).get("rows", {})
        return rows


def read(path: Path = PATH) -> Baseline:
    """Return the baseline of a file; an empty one where there is no file."""
    if not path.exists():
        return Baseline()
    return Baseline(json.loads(path.read_text())["parts"])


def write(baseline: Baseline, path: Path = PATH) -> None:
    """Write it with one row a line, so that a review sees which ratio changed."""
    parts = []
    for name, part in baseline.parts.items():
        rows = [
            f"        {json.dumps(row)}: {json.dumps(figures)}"
            for row, figures in part["rows"].items()
        ]
        parts.append(
            f"    {json.dumps(name)}: {{\n"
            f'      "machine": {json.dumps(part["machine"])},\n'
            '      "rows": {\n' + ",\n".join(rows) + "\n      }\n    }"
        )
    path.write_text('{\n  "parts": {\n' + ",\n".join(parts) + "\n  }\n}\n")


def this_machine() -> dict[str, object]:
    """Describe this machine by what its figures depend on, and by nothing that names it."""
    return {
        "cpu": _cpu(Path("/proc/cpuinfo").read_text()),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "date": datetime.now(timezone.utc).date().isoformat(),
        "reference_loop_ms": round(loop_cpu() * 1000, 2),
    }


def _cpu(cpuinfo: str) -> str:
    for line in cpuinfo.splitlines():
        key, _, model = line.partition(":")
        if key.strip() == "model name":
            return model.strip()
    return platform.machine()


def _rounded(figure: float) -> float:
    return float(f"{figure:.4g}")
