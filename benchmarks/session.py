"""A run: the parts one by one, then the table, build/bench.json and the baseline."""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rich.console import Console

from benchmarks import baseline, report
from benchmarks.comparison import Comparison, Progress
from lab.errors import LabError

Part = Callable[[Progress], Sequence[Comparison]]

RESULTS = Path("build/bench.json")


def run(
    parts: Mapping[str, Part],
    console: Console,
    *,
    write_baseline: bool = False,
    results: Path = RESULTS,
    baseline_path: Path = baseline.PATH,
    describe_machine: Callable[[], Mapping[str, object]] = baseline.this_machine,
) -> int:
    """Measure the parts, print and write what they return, and return the exit code."""
    comparisons, not_measured = _measure(parts, _progress(console))
    if comparisons:
        before = baseline.read(baseline_path)
        console.print(report.table(comparisons, before))
        for line in report.summary(comparisons, before):
            console.print(line, highlight=False, markup=False)
        results.parent.mkdir(parents=True, exist_ok=True)
        results.write_text(json.dumps([row.to_dict() for row in comparisons], indent=2) + "\n")
        console.print(f"Results written to {results}", highlight=False)
        if write_baseline:
            replaced = before.replaced(comparisons, describe_machine())
            baseline.write(replaced, baseline_path)
            console.print(f"Baseline written to {baseline_path}", highlight=False)
    return report.exit_code(comparisons, not_measured)


def _measure(parts: Mapping[str, Part], progress: Progress) -> tuple[list[Comparison], list[str]]:
    comparisons: list[Comparison] = []
    not_measured = []
    for name, part in parts.items():
        try:
            comparisons.extend(part(progress))
        # The other parts took minutes: what they measured is kept.
        except Exception as exc:  # noqa: BLE001
            progress(f"{name}: not measured: {type(exc).__name__}: {exc}")
            if not isinstance(exc, LabError):
                traceback.print_exc()
            not_measured.append(name)
    return comparisons, not_measured


def _progress(console: Console) -> Progress:
    begun = time.monotonic()

    def progress(text: str) -> None:
        console.print(f"{time.monotonic() - begun:6.1f} s  {text}", highlight=False, markup=False)

    return progress
