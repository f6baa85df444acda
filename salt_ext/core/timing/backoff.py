"""How long to wait after errors: jittered, doubling, capped, forgotten after a quiet while."""

from __future__ import annotations

import random
from dataclasses import dataclass, field


@dataclass(slots=True)
class Backoff:
    """Waits in seconds; the defaults are those of client-go's reflector."""

    first: float = 0.8
    cap: float = 30.0
    forget_after: float = 120.0
    dice: random.Random = field(default_factory=random.Random)
    until: float = 0.0
    """Monotonic time before which nothing should be tried."""
    failures: int = 0
    """Errors in a row."""
    _exponent: int = 0
    _failed_at: float = float("-inf")

    def failed(self, now: float, *, at_least: float = 0.0) -> None:
        """Take an error; ``at_least`` is what the server asked for."""
        if now >= self._failed_at + self.forget_after:
            self._exponent = 0
        ceiling = min(self.cap, self.first * 2**self._exponent)
        # Full jitter above a floor: masters that lost one API server must not return in step.
        self.until = now + max(at_least, self.dice.uniform(ceiling / 2, ceiling))
        self._exponent = min(self._exponent + 1, 16)
        self._failed_at = now
        self.failures += 1

    def worked(self, now: float) -> None:
        """Take a success: no waiting now; the next error soon still waits longer."""
        self.failures = 0
        self.until = min(self.until, now)
