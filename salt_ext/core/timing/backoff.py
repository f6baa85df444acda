"""The delay after errors: jittered, doubling, capped, reset after two minutes without errors."""

from __future__ import annotations

import random
from dataclasses import dataclass, field


@dataclass(slots=True)
class Backoff:
    """Delays in seconds; the defaults are those of client-go's reflector."""

    first: float = 0.8
    cap: float = 30.0
    reset_after: float = 120.0
    rng: random.Random = field(default_factory=random.Random)
    until: float = 0.0
    """Monotonic time before which nothing should be tried."""
    failures: int = 0
    """Consecutive errors."""
    _exponent: int = 0
    _failed_at: float = float("-inf")

    def failed(self, now: float, *, at_least: float = 0.0) -> None:
        """Record an error; ``at_least`` is the delay that the server asked for, in seconds."""
        if now >= self._failed_at + self.reset_after:
            self._exponent = 0
        ceiling = min(self.cap, self.first * 2**self._exponent)
        # Full jitter above a floor: masters that lost one API server must not return in step.
        self.until = now + max(at_least, self.rng.uniform(ceiling / 2, ceiling))
        self._exponent = min(self._exponent + 1, 16)
        self._failed_at = now
        self.failures += 1

    def succeeded(self, now: float) -> None:
        """Record a success: no delay now; an error soon after still gets a longer one."""
        self.failures = 0
        self.until = min(self.until, now)
