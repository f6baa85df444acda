"""
The rollout of a change over the minions of one class: canaries, batches, and when to stop.

A rollout begins when a healthy minion is out of date, and ends when none is. The canaries are
first. After enough of them succeeded, the rollout is open to all minions of the class. When too
many healthy minions fail, the class is stopped. After a delay that grows with each stop, one
minion is tried; its success opens the rollout again. Minions that failed before are retried with
their own delays; they neither begin a rollout nor count for one.

.. code-block:: text

    (none) --healthy minion out of date--> canaries --enough succeeded--> open --none left--> (none)
                                             |  ^                           |
                                   too many failures                too many failures
                                             v  |                           |
                                           stopped <------------------------+
                                                after a delay: one minion as canary
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

_OPEN_SECONDS = 60.0
"""Seconds after which a later change needs its own canaries and its own count of failures."""

SLOW = 30.0
"""Seconds without a return after which a minion no longer delays the others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutState:
    """The state of a class; times are seconds since the epoch."""

    started_at: float
    open: bool = False
    stopped: str = ""
    """Why nothing is published to the class; empty when it is not stopped."""
    retry_at: float = 0.0
    consecutive_stops: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One minion of the class that is out of date."""

    minion: str
    due: bool
    in_flight_since: float | None = None
    """When its job was published, if one is in flight."""
    attempts: int = 0
    applied_at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class MinionOutcome:
    """The outcome of the last publish to one minion of the class."""

    dispatched_at: float
    applied_at: float | None
    failing_since: float | None
    failed_at: float | None
    silent: bool = False
    """It did not return; it may just be off."""

    def succeeded(self, since: float) -> bool:
        """Whether it was published to since then, and proved it."""
        return (
            self.failing_since is None and (self.applied_at or 0.0) >= self.dispatched_at >= since
        )

    def failed(self, since: float, *, count_silent: bool, count_repeated: bool) -> bool:
        """
        Whether it was published to since then, and failed.

        A missing return counts with ``count_silent``, a minion that failed before with
        ``count_repeated``.
        """
        if min(self.failed_at or 0.0, self.dispatched_at) < since:
            return False
        if self.silent and not count_silent:
            return False
        return count_repeated or (self.failing_since or 0.0) >= since


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutPolicy:
    """The limits of ``apply:`` that a rollout keeps."""

    canary: int
    abort_percent: int
    batch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NextBatch:
    """What to do now with one class."""

    state: RolloutState | None
    minions: tuple[str, ...] = ()
    why: str = ""
    """Why other due minions are not among them."""


def next_batch(
    state: RolloutState | None,
    candidates: Sequence[Candidate],
    outcomes: Sequence[MinionOutcome],
    policy: RolloutPolicy,
    now: float,
    stop_seconds: Callable[[int], float],
) -> NextBatch:
    """
    Return the minions to publish to now, and the new state of the rollout.

    ``stop_seconds`` returns how long a class stays stopped, by its number of consecutive stops.
    """
    if state is not None and state.started_at > now:
        # The clock was set back: none of the recorded times is usable.
        stops = state.consecutive_stops
        state = RolloutState(started_at=now, consecutive_stops=stops) if stops else None
    fresh = [candidate for candidate in candidates if candidate.attempts == 0]
    retries = [candidate for candidate in candidates if candidate.attempts > 0]
    if state is not None and state.stopped and candidates:
        if now < state.retry_at:
            return NextBatch(state=state, why=state.stopped)
        state = RolloutState(started_at=now, consecutive_stops=state.consecutive_stops)
    if state is None or (state.open and now >= state.started_at + _OPEN_SECONDS):
        state = RolloutState(started_at=now, open=policy.canary == 0)
    if not candidates or (not fresh and not state.consecutive_stops):
        return NextBatch(state=None, minions=_due(retries, policy.batch))
    succeeded, failed = _count(outcomes, state)
    finished = succeeded + failed
    if failed * 100 > policy.abort_percent * finished and (failed > 1 or not state.open):
        return _stop(state, f"stopped: {failed} of {finished} minions failed", now, stop_seconds)
    if not state.open:
        needed = 1 if state.consecutive_stops else policy.canary
        if succeeded < min(needed, succeeded + len(candidates)):
            return _canary_batch(state, fresh, retries, needed - succeeded, now)
        state = replace(state, open=True, started_at=now, consecutive_stops=0)
    return _open_batch(state, fresh, retries, policy, now)


def _count(outcomes: Sequence[MinionOutcome], state: RolloutState) -> tuple[int, int]:
    """Return how many minions succeeded and failed since the rollout began."""
    since = state.started_at
    succeeded = sum(outcome.succeeded(since) for outcome in outcomes)
    failed = sum(
        outcome.failed(
            since, count_silent=not state.open, count_repeated=state.consecutive_stops > 0
        )
        for outcome in outcomes
    )
    return succeeded, failed


def _stop(
    state: RolloutState, why: str, now: float, stop_seconds: Callable[[int], float]
) -> NextBatch:
    stops = state.consecutive_stops
    stopped = replace(
        state,
        stopped=why,
        open=False,
        retry_at=now + stop_seconds(stops),
        consecutive_stops=stops + 1,
    )
    return NextBatch(state=stopped, why=why)


def _canary_batch(
    state: RolloutState,
    fresh: list[Candidate],
    retries: list[Candidate],
    needed: int,
    now: float,
) -> NextBatch:
    eligible = [*fresh, *retries] if state.consecutive_stops else fresh
    in_flight = [
        candidate.minion
        for candidate in eligible
        if candidate.in_flight_since is not None
        and candidate.in_flight_since >= max(state.started_at, now - SLOW)
    ]
    # The minion that was proven last is the most likely to be well.
    ranked = sorted(
        eligible,
        key=lambda candidate: (candidate.attempts, -candidate.applied_at, candidate.minion),
    )
    due = [candidate.minion for candidate in ranked if candidate.due]
    chosen = due[: max(0, needed - len(in_flight))]
    names = ", ".join(sorted([*in_flight, *chosen]))
    why = f"waiting for canary {names}" if names else "waiting for a first canary"
    return NextBatch(state=state, minions=tuple(chosen), why=why)


def _open_batch(
    state: RolloutState,
    fresh: list[Candidate],
    retries: list[Candidate],
    policy: RolloutPolicy,
    now: float,
) -> NextBatch:
    in_flight = sum(
        candidate.in_flight_since is not None and candidate.in_flight_since > now - SLOW
        for candidate in fresh
    )
    due = [candidate for candidate in fresh if candidate.due]
    chosen = _due(due, max(0, policy.batch - in_flight))
    why = ""
    if len(chosen) < len(due):
        why = f"waiting for the previous batch of {policy.batch}"
    return NextBatch(state=state, minions=(*chosen, *_due(retries, policy.batch)), why=why)


def _due(candidates: Sequence[Candidate], limit: int) -> tuple[str, ...]:
    ordered = sorted(candidates, key=lambda candidate: (candidate.attempts, candidate.minion))
    return tuple(candidate.minion for candidate in ordered if candidate.due)[:limit]
