"""One figure of the table: ours, the alternative, the ratio, the aim, and whether it is met."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """``aim`` is the largest ``ours`` that is good; with ``aim_ratio``, the largest ratio."""

    part: str
    name: str
    unit: str
    ours: float
    alternative: float | None = None
    aim: float | None = None
    aim_ratio: float | None = None
    why: str = ""
    """What is known of an aim that is not met."""

    @property
    def ratio(self) -> float | None:
        """Ours as a part of the alternative."""
        return self.ours / self.alternative if self.alternative else None

    @property
    def met(self) -> bool | None:
        """Whether the aims are met; None where there is none."""
        checks = []
        if self.aim is not None:
            checks.append(self.ours <= self.aim)
        if self.aim_ratio is not None and self.ratio is not None:
            checks.append(self.ratio <= self.aim_ratio)
        return all(checks) if checks else None

    @property
    def aim_text(self) -> str:
        """The aim in words."""
        words = []
        if self.aim is not None:
            words.append(f"{self.aim:g} {self.unit}")
        if self.aim_ratio is not None:
            words.append(f"{self.aim_ratio:g} of the alternative")
        return ", ".join(words)

    def to_dict(self) -> dict[str, object]:
        """Return it as it is written to bench.json."""
        told: dict[str, object] = {
            "part": self.part,
            "name": self.name,
            "unit": self.unit,
            "ours": self.ours,
            "alternative": self.alternative,
            "ratio": self.ratio,
            "aim": self.aim_text or None,
            "met": self.met,
        }
        return {**told, "why": self.why} if self.why and self.met is False else told
