"""What is wrong with a set-up, and how to mend it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum


class Level(str, Enum):
    """How bad it is."""

    ERROR = "error"
    """Something does not work, or not safely: someone must mend it."""
    WARNING = "warning"
    """It works, in a reduced or in a dangerous way."""
    INFO = "info"
    """Worth knowing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was found."""

    level: Level
    where: str
    what: str
    mend: str = ""

    def __str__(self) -> str:
        return f"{self.where}: {self.what}" + (f"; {self.mend}" if self.mend else "")

    def to_dict(self) -> dict[str, str]:
        """Return it as JSON has it."""
        told = {"level": self.level.value, "where": self.where, "what": self.what}
        return {**told, "fix": self.mend} if self.mend else told


def error(where: str, what: str, mend: str = "") -> Finding:
    """Return a finding that someone must mend."""
    return Finding(level=Level.ERROR, where=where, what=what, mend=mend)


def warning(where: str, what: str, mend: str = "") -> Finding:
    """Return a finding that someone should look at."""
    return Finding(level=Level.WARNING, where=where, what=what, mend=mend)


def info(where: str, what: str, mend: str = "") -> Finding:
    """Return something worth knowing."""
    return Finding(level=Level.INFO, where=where, what=what, mend=mend)


def in_order(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return each once, the worst first, otherwise as they came."""
    levels = list(Level)
    return tuple(sorted(dict.fromkeys(findings), key=lambda one: levels.index(one.level)))
