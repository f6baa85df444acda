"""Many alarms, of which the next one is found at once."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Key = TypeVar("Key")


@dataclass(slots=True)
class Alarms(Generic[Key]):
    """One time for each key; setting it and finding the next take no longer with many keys."""

    _at: dict[Key, float] = field(default_factory=dict)
    _heap: list[tuple[float, int, Key]] = field(default_factory=list)
    """Also alarms that were replaced since; the number keeps keys from being compared."""
    _count: int = 0

    def set(self, key: Key, at: float | None) -> None:
        """Replace the alarm of a key; None takes it away."""
        if at == self._at.get(key):
            return
        if at is None:
            del self._at[key]
            return
        self._at[key] = at
        self._count += 1
        heapq.heappush(self._heap, (at, self._count, key))
        if len(self._heap) > 2 * len(self._at) + 64:
            self._heap = [entry for entry in self._heap if self._at.get(entry[2]) == entry[0]]
            heapq.heapify(self._heap)

    def set_if_unset(self, key: Key, at: float) -> None:
        """Set the alarm of a key that has none."""
        if key not in self._at:
            self.set(key, at)

    def next(self) -> float | None:
        """Return the time of the next alarm, None when there is none."""
        while self._heap:
            at, _, key = self._heap[0]
            if self._at.get(key) == at:
                return at
            heapq.heappop(self._heap)
        return None

    def due(self, now: float) -> list[Key]:
        """Return the keys whose time has come, the earliest first, and take their alarms away."""
        due = []
        while (at := self.next()) is not None and at <= now:
            _, _, key = heapq.heappop(self._heap)
            del self._at[key]
            due.append(key)
        return due
