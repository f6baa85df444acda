"""When the departures of a minion are closed, or looked for once more."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterable

from salt_ext.core.rollout.departures import MAX_IN_JOB, Closing, Departure
from salt_ext.core.rollout.drift import MAX_RETRY_DELAY

RECHECK_INTERVAL = 86_400.0
"""Seconds after which closed addresses are looked for again: a reload may bring a rule back."""


def due(closing: Closing, now: float, timeout: float) -> bool:
    """Whether a job for the open departures of a minion may be published now."""
    # A longer wait means that the clock was set back.
    waits = 0.0 < closing.next_at - now <= MAX_RETRY_DELAY
    return not closing.in_flight(now, timeout) and not waits


def recheck_due(closing: Closing, now: float, timeout: float) -> bool:
    """
    Whether closed departures are looked for again; after a failed look, with the usual waits.

    Each minion's time differs by up to 20 percent, so that not all are due at once.
    """
    spread = 0.8 + zlib.crc32(closing.minion.encode()) % 1000 / 5000
    at = closing.checked_at or 0.0
    return due(closing, now, timeout) and now > at + RECHECK_INTERVAL * spread


def chosen(departures: Iterable[Departure]) -> tuple[tuple[str, float], ...]:
    """Return what one job names: the least recently checked first, each with its time."""
    ordered = sorted(departures, key=lambda one: (one.checked_at or 0.0, one.since, one.address))
    return tuple(sorted((one.address, one.since) for one in ordered[:MAX_IN_JOB]))


def groups(
    departed: Iterable[tuple[str, Collection[Departure]]],
) -> dict[tuple[tuple[str, float], ...], list[str]]:
    """Return the minions that get the same job."""
    found: dict[tuple[tuple[str, float], ...], list[str]] = {}
    for minion, rows in departed:
        if named := chosen(rows):
            found.setdefault(named, []).append(minion)
    return found
