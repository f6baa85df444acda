"""One row of the table: our figure, its peer, their ratio, and the aim of that ratio."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

Progress = Callable[[str], None]
"""Prints what is being measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Our figure beside the figure of a peer, measured in the same run."""

    part: str
    name: str
    """Unique within its part and the same in every run: the baseline finds its row by it."""
    unit: str
    ours: float
    peer: float
    peer_name: str
    aim: float | None = None
    """The largest good ratio; None for a row that only informs."""
    derivation: str = ""
    """Where the aim comes from."""
    reason: str = ""
    """Why the aim is missed, as far as it is known."""

    def __post_init__(self) -> None:
        """Refuse a peer that gives no ratio."""
        if self.peer <= 0:
            raise ValueError(f"{self.part}: {self.name}: the peer measured {self.peer:g}")

    @property
    def ratio(self) -> float:
        """Ours as a multiple of the peer."""
        return self.ours / self.peer

    @property
    def met(self) -> bool | None:
        """Whether the ratio is within its aim; None without an aim."""
        return None if self.aim is None else self.ratio <= self.aim

    def to_dict(self) -> dict[str, object]:
        """Return it as build/bench.json has it."""
        row: dict[str, object] = {
            "part": self.part,
            "name": self.name,
            "unit": self.unit,
            "ours": self.ours,
            "peer": self.peer,
            "peer_name": self.peer_name,
            "ratio": self.ratio,
            "aim": self.aim,
            "derivation": self.derivation or None,
            "met": self.met,
        }
        if self.met is False:
            row["reason"] = self.reason or None
        return row


def quantile(values: Sequence[float], fraction: float) -> float:
    """Return a quantile; of few values, the 0.99 quantile is the highest."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(fraction * len(ordered)))]
