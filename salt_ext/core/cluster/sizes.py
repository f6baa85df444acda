"""How large a cluster was in the last minutes and within a day: what growth is measured against."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

DAY = 86_400.0
_SLOT = 600.0
"""Seconds that one number stands for, once a change is older than ``recent_for``."""


class Size(NamedTuple):
    """Numbers of nodes and of their addresses, networks included."""

    nodes: int
    addresses: int


class Sample(NamedTuple):
    """A size, and how many seconds ago it ended: how the store keeps it over a restart."""

    age: float
    nodes: int
    addresses: int


@dataclass(slots=True)
class SizeHistory:
    """Past sizes, and until when each was true; times are monotonic seconds."""

    recent_for: float
    """Seconds for which each change counts by itself; older ones count in slots of minutes."""
    _recent: deque[tuple[float, Size]] = field(default_factory=deque)
    _slots: dict[int, Size] = field(default_factory=dict)
    """By number of the slot, the smallest nodes and addresses within it."""

    def record(self, size: Size, until: float) -> None:
        """Record a size that was true until then."""
        self._recent.append((until, size))
        self._fold(until)

    def since(self, start: float) -> list[Size]:
        """Return the sizes that were true at any time since then, within ``recent_for``."""
        return [size for until, size in self._recent if until >= start]

    def smallest(self, now: float, within: float, current: Size) -> Size:
        """Return the smallest numbers of nodes and of addresses within those seconds."""
        sizes = [current, *self.since(now - within)]
        if within > self.recent_for:
            sizes += [
                size for slot, size in self._slots.items() if (slot + 1) * _SLOT > now - within
            ]
        return Size(min(size.nodes for size in sizes), min(size.addresses for size in sizes))

    def raise_by(self, more: Size) -> None:
        """Add to every size: a person has confirmed so much growth, and it does not count again."""
        self._recent = deque((until, _sum(size, more)) for until, size in self._recent)
        self._slots = {slot: _sum(size, more) for slot, size in self._slots.items()}

    def clear(self) -> None:
        """Forget all: another cluster answers."""
        self._recent.clear()
        self._slots.clear()

    def samples(self, now: float) -> list[Sample]:
        """Return the past day for the store."""
        self._fold(now)
        old = [
            Sample(max(0.0, now - (slot + 1) * _SLOT), *size) for slot, size in self._slots.items()
        ]
        return [*old, *(Sample(now - until, *size) for until, size in self._recent)]

    def load(self, samples: Iterable[Sequence[float]], now: float) -> None:
        """Continue with the samples of an earlier process."""
        self.clear()
        for age, nodes, addresses in sorted(samples, key=lambda sample: -sample[0]):
            # A clock that was set back must not make a size last longer than until now.
            self._recent.append((now - max(0.0, age), Size(int(nodes), int(addresses))))
        self._fold(now)

    def copy(self) -> SizeHistory:
        """Return a copy."""
        return SizeHistory(self.recent_for, deque(self._recent), dict(self._slots))

    def _fold(self, now: float) -> None:
        while self._recent and self._recent[0][0] < now - self.recent_for:
            until, size = self._recent.popleft()
            slot = int(until // _SLOT)
            known = self._slots.get(slot, size)
            self._slots[slot] = Size(
                min(known.nodes, size.nodes), min(known.addresses, size.addresses)
            )
        for slot in [slot for slot in self._slots if (slot + 1) * _SLOT <= now - DAY]:
            del self._slots[slot]


def _sum(one: Size, other: Size) -> Size:
    return Size(one.nodes + other.nodes, one.addresses + other.addresses)
