"""Removed addresses whose open connections are not ended yet: kept until a run has ended them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from . import connections, errors
from .state_dir import StateDir

FILE = "departures"


@dataclass(frozen=True)
class Ended:
    """The outcome of ending connections."""

    counts: connections.Counts = field(default_factory=dict)
    problem: str = ""
    retry: bool = False
    """Whether the next run has to try again."""


def pending(state_dir: StateDir) -> frozenset[str]:
    """Return the removed addresses whose connections are not ended yet."""
    return frozenset(state_dir.read(FILE).get("addresses", []))


def record(state_dir: StateDir, entries: frozenset[str]) -> None:
    """Replace the record, if it differs."""
    if not entries:
        state_dir.remove(f"{FILE}.json")
    elif entries != pending(state_dir):
        state_dir.write(FILE, {"addresses": sorted(entries)})


def end(
    state_dir: StateDir, removed: frozenset[str], still_allowed: Callable[[], Callable[[str], bool]]
) -> Ended:
    """End the connections of removed addresses; record those that the next run has to try."""
    ended = _end(removed, still_allowed)
    before = pending(state_dir)
    record(state_dir, before | removed if ended.retry else before - removed)
    return ended


def _end(removed: frozenset[str], still_allowed: Callable[[], Callable[[str], bool]]) -> Ended:
    if not removed:
        return Ended()
    try:
        counts = connections.end(removed, still_allowed())
    except errors.FirewallError as exc:
        # A missing program is reported once here, and by status until it is installed.
        return Ended(
            problem=f"connections of removed addresses were not ended: {exc}",
            retry=not isinstance(exc, errors.MissingProgram),
        )
    return Ended(counts=counts, problem=connections.still_open(counts))
