"""Fail when fewer branches were taken than the floor asks, and say which ones were not.

coverage's own --fail-under mixes lines with branches: lines alone can lift it over a floor.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path


def main() -> int:
    """0 above the floor, 1 below it, 2 for a report without branches."""
    parser = argparse.ArgumentParser(description="Compare branch coverage with a floor.")
    parser.add_argument("report", type=Path, help="what `coverage json` wrote")
    parser.add_argument("--floor", type=float, required=True, metavar="PERCENT")
    parser.add_argument("--name", required=True, help="what was measured, for the message")
    given = parser.parse_args()

    report = json.loads(given.report.read_text())
    branches = report["totals"].get("num_branches", 0)
    if not branches:
        print(f"{given.name}: {given.report} counts no branches; was it measured with --branch?")
        return 2

    taken = report["totals"]["covered_branches"]
    percent = 100 * taken / branches
    print(f"{given.name}: {percent:.2f} % of branches ({taken} of {branches})", end="")
    print(f", floor {given.floor:g} %")
    if percent >= given.floor:
        return 0

    print(f"{given.name}: coverage is below the floor. Branches that no test takes:")
    for path, file in sorted(report["files"].items(), key=_most_missing):
        missing = sorted(file["missing_branches"])
        if missing:
            print(f"  {path}: {', '.join(map(_arrow, missing))}")
    return 1


def _most_missing(entry: tuple[str, dict[str, list[list[int]]]]) -> tuple[int, str]:
    path, file = entry
    return -len(file["missing_branches"]), path


def _arrow(branch: list[int]) -> str:
    """Name one branch by its lines; coverage writes the end of a function as a negative line."""
    start, end = branch
    return f"{start}->{end if end > 0 else 'exit'}"


if __name__ == "__main__":
    sys.exit(main())
