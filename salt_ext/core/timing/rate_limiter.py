"""Keeps apart what anybody can ask for, however often, and forgets no last wish."""

from __future__ import annotations

from dataclasses import dataclass, field

_FORGET = 3600.0


@dataclass(slots=True)
class _Turn:
    at: float
    wait: float
    count: int
    wished: bool = False


@dataclass(slots=True)
class RateLimiter:
    """
    Lets the first few wishes of a name through at once, and later ones after waits that double.

    Wishes that come meanwhile are one, which is granted at the end of the wait. A minion start
    can be forged by any other minion: so a forger gets a few runs in an hour, and a minion that
    did start is late by a quarter of an hour at most. Times are monotonic seconds.
    """

    few: int = 5
    least: float = 5.0
    """Seconds between two wishes in any case."""
    first: float = 60.0
    cap: float = 900.0
    _turns: dict[str, _Turn] = field(default_factory=dict)

    def allow(self, name: str, now: float) -> bool:
        """Take a wish; whether it is granted now."""
        turn = self._turns.get(name)
        if turn is not None and now < turn.at + turn.wait:
            turn.wished = True
            return False
        self._grant(name, now)
        return True

    def released(self, now: float) -> list[str]:
        """Return the names whose wish was waiting and is granted now."""
        ready = [
            name for name, turn in self._turns.items() if turn.wished and now >= turn.at + turn.wait
        ]
        for name in ready:
            self._grant(name, now)
        return ready

    def _grant(self, name: str, now: float) -> None:
        turn = self._turns.get(name)
        count = 1 if turn is None or now >= turn.at + _FORGET else turn.count + 1
        if count == 1:
            for old in [one for one, had in self._turns.items() if now >= had.at + _FORGET]:
                del self._turns[old]
        doubled = self.first * 2 ** min(count - self.few, 16)
        wait = self.least if count < self.few else min(self.cap, doubled)
        self._turns[name] = _Turn(at=now, wait=wait, count=count)
