"""When a change is announced: the first after quiet at once, a burst together."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Debounce:
    """Times are monotonic seconds."""

    quiet: float
    longest: float
    _first: float | None = None
    _last: float = float("-inf")
    _at: float = 0.0

    def changed(self, now: float) -> None:
        """Take a change."""
        if self._first is None:
            self._first = now
        waited = now - self._last >= self.quiet
        self._last = now
        self._at = now if waited else min(now + self.quiet, self._first + self.longest)

    def wake_at(self) -> float | None:
        """Return when to announce, None when there is nothing to."""
        return None if self._first is None else self._at

    def due(self, now: float) -> bool:
        """Whether to announce now."""
        return self._first is not None and now >= self._at

    def announced(self, now: float) -> None:
        """Take that everything so far was announced."""
        self._first = None
        self._last = now
