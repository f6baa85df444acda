"""The output of the demo: colour and a spinner in a terminal, plain lines in a log."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.table import Table


class Narrator:
    """Prints chapters, facts with the time that has passed, and the table at the end."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False, soft_wrap=True)
        self._begin = time.monotonic()

    def chapter(self, text: str) -> None:
        if self.console.is_terminal:
            self.console.print(f"\n[bold cyan]●[/] [bold]{escape(text)}[/]")
        else:
            self.console.print(f"\n== {text}", markup=False)

    def fact(self, text: str, *, good: bool | None = None) -> None:
        """A line with the time; good and bad ones are marked."""
        mark = {True: "[green]✔[/]", False: "[red]✘[/]", None: "[dim]·[/]"}[good]
        if not self.console.is_terminal:
            mark = {True: "ok  ", False: "FAIL", None: "    "}[good]
        self.console.print(f"[dim]{self._time()}[/]  {mark} {escape(text)}")

    @contextmanager
    def waiting(self, text: str) -> Iterator[None]:
        """A line while something takes a while; only in a terminal, where it can be removed."""
        if self.console.is_terminal:
            with self.console.status(escape(text)):
                yield
        else:
            yield

    def table(self, rows: Sequence[tuple[str, str, bool]]) -> None:
        """The summary: claim, result, and whether the result is as promised."""
        if self.console.is_terminal:
            table = Table(title="What was measured", title_justify="left", title_style="bold")
            table.add_column("")
            table.add_column("")
            table.add_column("", justify="center")
            table.show_header = False
            for what, found, good in rows:
                table.add_row(escape(what), escape(found), "[green]✔[/]" if good else "[red]✘[/]")
            self.console.print()
            self.console.print(table)
            return
        self.chapter("What was measured")
        width = max(len(what) for what, _, _ in rows)
        for what, found, good in rows:
            self.console.print(
                f"{'ok  ' if good else 'FAIL'} {what:<{width}}  {found}", markup=False
            )

    def say(self, text: str) -> None:
        self.console.print(text, markup=False)

    def _time(self) -> str:
        return f"{time.monotonic() - self._begin:5.1f} s"
