"""``python -m benchmarks``: run the parts, print the table, write build/bench.json."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import convergence, engine, firewall, pillar
from benchmarks.row import Row, Say
from lab.errors import LabError

PARTS = {
    "engine": engine.rows,
    "pillar": pillar.rows,
    "convergence": convergence.rows,
    "firewall": firewall.rows,
}


def main() -> int:
    """Return 0 when every part that was asked for could be measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=PARTS, help="one part")
    chosen = parser.parse_args().only
    console = Console()
    began = time.monotonic()
    rows: list[Row] = []
    failed = False
    for part, measure in PARTS.items():
        if chosen not in (None, part):
            continue
        say = _say(console, began)
        try:
            rows.extend(measure(say))
        except LabError as exc:
            say(f"{part} was not measured: {exc}")
            failed = True
    if rows:
        console.print(_table(rows))
        path = Path("build/bench.json")
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps([row.to_dict() for row in rows], indent=2) + "\n")
        console.print(f"The same in {path}")
    return 2 if failed else 0


def _say(console: Console, began: float) -> Say:
    def say(text: str) -> None:
        console.print(f"{time.monotonic() - began:6.1f} s  {text}", highlight=False)

    return say


def _table(rows: list[Row]) -> Table:
    table = Table("part", "what", "unit", "ours", "alternative", "ratio", "aim", "met")
    for row in rows:
        met = {True: "yes", False: f"NO {row.why}".strip(), None: ""}[row.met]
        table.add_row(
            row.part,
            row.name,
            row.unit,
            f"{row.ours:.3g}",
            "" if row.alternative is None else f"{row.alternative:.3g}",
            "" if row.ratio is None else f"{row.ratio:.2g}",
            row.aim_text,
            met,
        )
    return table


if __name__ == "__main__":
    sys.exit(main())
