"""Limits how often a forgeable event causes work; the last event of each name is never lost."""

from __future__ import annotations

from dataclasses import dataclass, field

_RESET_AFTER = 3600.0


@dataclass(slots=True)
class _Grant:
    at: float
    wait: float
    count: int
    pending: bool = False


@dataclass(slots=True)
class RateLimiter:
    """
    Allows the first few requests of a name at once, later ones after delays that double.

    Requests during a delay are merged into one, which is released at its end. Any minion can forge
    the start event of another: a forger causes a few runs an hour, and a minion that did start
    waits a quarter of an hour at most. Times are monotonic seconds.
    """

    burst: int = 5
    min_interval: float = 5.0
    """Seconds between two requests of the burst."""
    first_delay: float = 60.0
    """Seconds to wait after the burst; doubles with each further request."""
    max_delay: float = 900.0
    _grants: dict[str, _Grant] = field(default_factory=dict)

    def allow(self, name: str, now: float) -> bool:
        """Return whether a request is allowed now; else it is pending."""
        last = self._grants.get(name)
        if last is not None and now < last.at + last.wait:
            last.pending = True
            return False
        self._grant(name, now)
        return True

    def released(self, now: float) -> list[str]:
        """Return the names whose pending request is allowed now."""
        ready = [
            name
            for name, last in self._grants.items()
            if last.pending and now >= last.at + last.wait
        ]
        for name in ready:
            self._grant(name, now)
        return ready

    def _grant(self, name: str, now: float) -> None:
        last = self._grants.get(name)
        count = 1 if last is None or now >= last.at + _RESET_AFTER else last.count + 1
        if count == 1:
            expired = [
                other for other, grant in self._grants.items() if now >= grant.at + _RESET_AFTER
            ]
            for other in expired:
                del self._grants[other]
        doubled = self.first_delay * 2 ** min(count - self.burst, 16)
        wait = self.min_interval if count < self.burst else min(self.max_delay, doubled)
        self._grants[name] = _Grant(at=now, wait=wait, count=count)
