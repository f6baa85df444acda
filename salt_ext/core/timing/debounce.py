"""When to announce changes: the first one after a quiet time at once, a burst together."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Debounce:
    """Times are monotonic seconds."""

    interval: float
    """Seconds without a change before the next announcement."""
    max_delay: float
    """Seconds that a change waits at most while others follow."""
    _first: float | None = None
    _last: float = float("-inf")
    _announce_at: float = 0.0

    def changed(self, now: float) -> None:
        """Record a change."""
        if self._first is None:
            self._first = now
        was_quiet = now - self._last >= self.interval
        self._last = now
        self._announce_at = (
            now if was_quiet else min(now + self.interval, self._first + self.max_delay)
        )

    def wake_at(self) -> float | None:
        """Return when to announce, None when there is nothing to announce."""
        return None if self._first is None else self._announce_at

    def due(self, now: float) -> bool:
        """Whether to announce now."""
        return self._first is not None and now >= self._announce_at

    def announced(self, now: float) -> None:
        """Record that all changes so far were announced."""
        self._first = None
        self._last = now
