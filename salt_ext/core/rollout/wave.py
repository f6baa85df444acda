"""
How a change rolls over the minions of one class: a few first, then the others, and when to stop.

A wave begins when a minion that was well is behind, and ends when none is. First come the
canaries; when enough of them have proved it, the way is open for everybody. When too many of
those that were well before fail, the class is stopped: one minion is tried after a while that
grows, and when that one succeeds the way is open again. Minions that failed before are retried
at their own pace, and neither begin a wave nor count for one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

_OPEN_FOR = 60.0
"""Seconds after which what comes meanwhile needs canaries of its own, and a count of its own."""

SLOW = 30.0
"""Seconds without a return after which a minion is not waited for before others are told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutState:
    """Where a class is; times are seconds since the epoch."""

    started_at: float
    open: bool = False
    stopped: str = ""
    """Why nothing is published to the class, if so."""
    retry_at: float = 0.0
    tries: int = 0
    """How often it was stopped in a row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One minion of the class that is behind."""

    minion: str
    due: bool
    flying_since: float | None = None
    """When its job was published, if one is on its way."""
    attempts: int = 0
    applied_at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class MinionOutcome:
    """What became of one minion of the class when it was told last."""

    dispatched_at: float
    applied_at: float | None
    failing_since: float | None
    failed_at: float | None
    silent: bool = False
    """It did not return, which a minion that is off does as well."""

    def proved(self, since: float) -> bool:
        """Whether it was told since then and proved it."""
        return (
            self.failing_since is None and (self.applied_at or 0.0) >= self.dispatched_at >= since
        )

    def broke(self, since: float, *, silent: bool, again: bool) -> bool:
        """
        Whether it was told since then and failed.

        Silence counts if ``silent``, a minion that was failing before if ``again``.
        """
        if min(self.failed_at or 0.0, self.dispatched_at) < since or (self.silent and not silent):
            return False
        return again or (self.failing_since or 0.0) >= since


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutPolicy:
    """How careful to be."""

    canary: int
    abort_percent: int
    batch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NextBatch:
    """What to do now with one class."""

    wave: RolloutState | None
    minions: tuple[str, ...] = ()
    why: str = ""
    """Why others that are due are not among them."""


def next_batch(
    wave: RolloutState | None,
    behind: Sequence[Candidate],
    outcomes: Sequence[MinionOutcome],
    care: RolloutPolicy,
    now: float,
    wait: Callable[[int], float],
) -> NextBatch:
    """Return whom to publish to now; ``wait`` tells how long a class stays stopped."""
    if wave is not None and wave.started_at > now:
        # The clock was set back, and none of its times tells anything any more.
        wave = RolloutState(started_at=now, tries=wave.tries) if wave.tries else None
    fresh = [one for one in behind if one.attempts == 0]
    retries = [one for one in behind if one.attempts > 0]
    if wave is not None and wave.stopped and behind:
        if now < wave.retry_at:
            return NextBatch(wave=wave, why=wave.stopped)
        wave = RolloutState(started_at=now, tries=wave.tries)
    if wave is None or (wave.open and now >= wave.started_at + _OPEN_FOR):
        wave = RolloutState(started_at=now, open=care.canary == 0)
    if not behind or (not fresh and not wave.tries):
        return NextBatch(wave=None, minions=_some(retries, care.batch))
    proved = sum(one.proved(wave.started_at) for one in outcomes)
    broke = sum(
        one.broke(wave.started_at, silent=not wave.open, again=wave.tries > 0) for one in outcomes
    )
    tried = proved + broke
    if broke * 100 > care.abort_percent * tried and (broke > 1 or not wave.open):
        stopped = f"stopped: {broke} of {tried} minions failed"
        return NextBatch(
            wave=replace(
                wave,
                stopped=stopped,
                open=False,
                retry_at=now + wait(wave.tries),
                tries=wave.tries + 1,
            ),
            why=stopped,
        )
    if not wave.open:
        wanted = 1 if wave.tries else care.canary
        if proved < min(wanted, proved + len(behind)):
            return _canaries(wave, fresh, retries, wanted - proved, now)
        wave = replace(wave, open=True, started_at=now, tries=0)
    return _open(wave, fresh, retries, care, now)


def _canaries(
    wave: RolloutState, fresh: list[Candidate], retries: list[Candidate], wanted: int, now: float
) -> NextBatch:
    everyone = [*fresh, *retries] if wave.tries else fresh
    flying = [
        one
        for one in everyone
        if one.flying_since is not None and one.flying_since >= max(wave.started_at, now - SLOW)
    ]
    best = sorted(everyone, key=lambda one: (one.attempts, -one.applied_at, one.minion))
    chosen = [one.minion for one in best if one.due][: max(0, wanted - len(flying))]
    names = ", ".join(sorted([*(one.minion for one in flying), *chosen]))
    return NextBatch(wave=wave, minions=tuple(chosen), why=f"waits for {names or 'a first minion'}")


def _open(
    wave: RolloutState,
    fresh: list[Candidate],
    retries: list[Candidate],
    care: RolloutPolicy,
    now: float,
) -> NextBatch:
    flying = sum(one.flying_since is not None and one.flying_since > now - SLOW for one in fresh)
    due = [one for one in fresh if one.due]
    chosen = _some(due, max(0, care.batch - flying))
    why = f"waits for the {care.batch} before it" if len(chosen) < len(due) else ""
    return NextBatch(wave=wave, minions=(*chosen, *_some(retries, care.batch)), why=why)


def _some(candidates: Sequence[Candidate], most: int) -> tuple[str, ...]:
    ordered = sorted(candidates, key=lambda one: (one.attempts, one.minion))
    return tuple(one.minion for one in ordered if one.due)[:most]
