"""What the lab prints: tables and colour in a terminal, plain lines in a pipe or a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)

_STYLES = {
    "open": "green", "flowing": "green", "running": "green", "yes": "green",
    "closed": "red", "stopped": "red", "ended": "red", "no": "red", "stale": "yellow",
}  # fmt: skip


_begin = time.monotonic()


def progress(text: str) -> None:
    """A line of progress, on standard error; standard output is for the answer."""
    err.print(escape(f"{time.monotonic() - _begin:5.1f} s  {text}"), style="dim")


def fail(text: str) -> None:
    err.print(escape(text), style="red")


def styled(word: str) -> str:
    """A word in the colour of its meaning."""
    style = _STYLES.get(word)
    return f"[{style}]{escape(word)}[/]" if style else escape(word)


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, title: str = "") -> None:
    """A table; in a pipe one line a row, with the columns aligned."""
    if out.is_terminal:
        shown = Table(title=title or None, title_justify="left", title_style="bold", box=None,
                      header_style="bold", pad_edge=False)  # fmt: skip
        for column in columns:
            shown.add_column(column)
        for row in rows:
            shown.add_row(*(styled(cell) for cell in row))
        out.print(shown)
        return
    if title:
        print(title)
    widths = [max(len(row[i]) for row in [columns, *rows]) for i in range(len(columns))]
    for row in [columns, *rows]:
        print(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        )
    sys.stdout.flush()
