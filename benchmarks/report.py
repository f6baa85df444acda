"""The table and the exit code of a run."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from benchmarks.baseline import Baseline
from benchmarks.comparison import Comparison

ALL_MET = 0
AIM_MISSED = 1
NOT_MEASURED = 2


def exit_code(comparisons: Sequence[Comparison], not_measured: Sequence[str]) -> int:
    """Return 1 when an aim is missed; otherwise 2 when a part could not be measured."""
    if any(row.met is False for row in comparisons):
        return AIM_MISSED
    return NOT_MEASURED if not_measured else ALL_MET


def table(comparisons: Sequence[Comparison], baseline: Baseline) -> Table:
    """Return one line for each comparison, with its change against the baseline."""
    columns = Table()
    for heading in ("part", "measured", "compared with"):
        columns.add_column(heading)
    for heading in ("unit", "ours", "peer", "ratio", "aim", "baseline", "change", "met"):
        columns.add_column(heading, no_wrap=True)
    for row in comparisons:
        columns.add_row(
            row.part,
            row.name,
            row.peer_name,
            row.unit,
            f"{row.ours:.3g}",
            f"{row.peer:.3g}",
            f"{row.ratio:.3g}",
            "" if row.aim is None else f"{row.aim:.3g}",
            _ratio_text(baseline.ratio(row)),
            _change_text(baseline.change(row)),
            {True: "yes", False: "NO", None: ""}[row.met],
        )
    return columns


def summary(comparisons: Sequence[Comparison], baseline: Baseline) -> list[str]:
    """Return what the table cannot hold: missed aims with their reasons, and rows that are gone."""
    aims = [row for row in comparisons if row.met is not None]
    missed = [row for row in aims if not row.met]
    lines = [f"{len(aims) - len(missed)} of {len(aims)} aims met."]
    for row in missed:
        lines.append(f"Aim missed: {row.part}: {row.name}: ratio {row.ratio:.3g}, aim {row.aim:g}")
        lines.append(f"  aim from: {row.derivation or 'not written down'}")
        lines.append(f"  reason: {row.reason or 'unknown'}")
    lines += [f"Only in the baseline: {name}" for name in baseline.missing(comparisons)]
    return lines


def _ratio_text(ratio: float | None) -> str:
    return "new" if ratio is None else f"{ratio:.3g}"


def _change_text(percent: float | None) -> str:
    return "" if percent is None else f"{percent:+.0f} %"
