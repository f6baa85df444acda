"""``python -m benchmarks``: compare every part with its peers; exit 1 when an aim is missed."""

from __future__ import annotations

import argparse
import sys

from rich.console import Console

from benchmarks import convergence, engine, firewall, pillar, session

PARTS: dict[str, session.Part] = {
    "engine": engine.comparisons,
    "pillar": pillar.comparisons,
    "convergence": convergence.comparisons,
    "firewall": firewall.comparisons,
}
FILE_WIDTH = 200
"""Columns of the table where the output is no terminal, whose width would be taken for 80."""


def main() -> int:
    """Return 0: all aims met, 1: an aim missed, 2: a part not measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", choices=PARTS, help="measure this part alone")
    parser.add_argument(
        "--write-baseline",
        action="store_true",
        help="write the measured parts to benchmarks/baseline.json; other parts stay as they are",
    )
    arguments = parser.parse_args()
    parts = {arguments.only: PARTS[arguments.only]} if arguments.only else PARTS
    console = Console(width=None if sys.stdout.isatty() else FILE_WIDTH)
    return session.run(parts, console, write_baseline=arguments.write_baseline)


if __name__ == "__main__":
    sys.exit(main())
