"""A finding of ``check``: what is wrong with a set-up, and how to fix it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum


class Level(str, Enum):
    """The severity of a finding."""

    ERROR = "error"
    """Something does not work, or is unsafe: an operator must fix it."""
    WARNING = "warning"
    """It works, but with limits or risks."""
    INFO = "info"
    """Worth knowing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One finding."""

    level: Level
    where: str
    """The option, file, cluster or minion that it is about."""
    what: str
    fix: str = ""

    def __str__(self) -> str:
        return f"{self.where}: {self.what}" + (f"; {self.fix}" if self.fix else "")

    def to_dict(self) -> dict[str, str]:
        """Return it as JSON types: ``level``, ``where``, ``what``, and ``fix`` if there is one."""
        fields = {"level": self.level.value, "where": self.where, "what": self.what}
        return {**fields, "fix": self.fix} if self.fix else fields


def error(where: str, what: str, fix: str = "") -> Finding:
    """Return a finding that an operator must fix."""
    return Finding(level=Level.ERROR, where=where, what=what, fix=fix)


def warning(where: str, what: str, fix: str = "") -> Finding:
    """Return a finding that an operator should look at."""
    return Finding(level=Level.WARNING, where=where, what=what, fix=fix)


def info(where: str, what: str, fix: str = "") -> Finding:
    """Return a finding that is worth knowing."""
    return Finding(level=Level.INFO, where=where, what=what, fix=fix)


def by_severity(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return the findings without duplicates, errors first, otherwise in the given order."""
    levels = list(Level)
    return tuple(sorted(dict.fromkeys(findings), key=lambda finding: levels.index(finding.level)))
