"""
The addresses that references served once and serve no more: each an obligation of this minion.

A departure is recorded before anything is deleted for it. It is closed only by evidence: the
kernel and the files for the next boot were read whole, and nothing in them lets the address in.
A closed one is kept for months and looked for again, since a reload or a script may bring a rule
back. It is forgotten at once when the address is wanted again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from . import addresses
from .state_dir import StateDir

FILE = "departures"
Ports = tuple[tuple[str, int, int], ...]
"""Protocol (empty for every one), first and last port, sorted."""

OPEN, CLOSED, SPARED = "open", "closed", "spared"

_KEPT_SECONDS = 180 * 86_400.0
_MAX_CLOSED = 10_000
_MAX_IN_KERNEL = 10_000
_SHOWN = 3

NOT_CHECKED = "not checked yet"


@dataclass(frozen=True)
class Departure:
    """One address or network that was served and is served no more; times in s since 1970."""

    since: float
    cause: str
    served: bool = True
    """Whether references served it; else it left a set of this module, and rules of others that
    have it are not this module's."""
    ports: Ports | None = None
    """The ports that were open for it; None where that is not known."""
    existing: tuple[str, ...] = ()
    """The connections that it had before it was served."""
    state: str = OPEN
    why: str = NOT_CHECKED
    """What lets it in, what proves that nothing does, or why it is spared."""
    checked_at: float = 0.0


Departures = Mapping[str, Departure]
"""Departures by address."""


def recorded(state_dir: StateDir) -> dict[str, Departure]:
    """Return the recorded departures; an entry in the form of another version counts as open."""
    found = state_dir.read(FILE).get("departed")
    if not isinstance(found, Mapping):
        return {}
    return {address: _read(entry) for address, entry in found.items()}


def record(state_dir: StateDir, departures: Departures) -> None:
    """Replace the record, if it differs."""
    if departures == recorded(state_dir):
        return
    if departures:
        listed = {address: asdict(one) for address, one in sorted(departures.items())}
        state_dir.write(FILE, {"departed": listed})
    else:
        state_dir.remove(f"{FILE}.json")


def of_master(given: object) -> dict[str, float]:
    """
    Read what the master names: addresses, with the time since when, or without; strict.

    Raises InvalidAddress for anything that is neither an address nor a network.
    """
    if given is None:
        return {}
    if isinstance(given, Mapping):
        pairs = list(given.items())
    elif isinstance(given, (list, tuple)):
        pairs = [(address, 0.0) for address in given]
    else:
        raise addresses.InvalidAddress("not a list or mapping of addresses")
    found: dict[str, float] = {}
    for address, since in pairs:
        (entry,) = addresses.parse_separately([address])
        number = isinstance(since, (int, float)) and not isinstance(since, bool)
        found[entry] = float(since) if number else 0.0
    return found


def updated(
    known: Departures,
    new: Departures,
    wanted: Iterable[str],
    spared: Mapping[str, str],
    now: float,
) -> dict[str, Departure]:
    """
    Return the departures with new ones, and without those that are wanted again.

    spared
        The reason why an address is allowed although no reference serves it, by address.
    """
    result = {**new, **known}
    for address in wanted:
        result.pop(address, None)
    for address, one in result.items():
        if reason := spared.get(address):
            result[address] = replace(one, state=SPARED, why=reason, checked_at=now)
        elif one.state == SPARED:
            result[address] = replace(one, state=OPEN, why=NOT_CHECKED)
    return _bounded(result, now)


def judged(
    departures: Departures,
    open_by: Mapping[str, str],
    unknown: Mapping[str, str],
    *,
    now: float,
) -> dict[str, Departure]:
    """
    Return the departures after a reading of the kernel and the boot files.

    open_by
        What lets an address in, by address.
    unknown
        What could not be read whole and may let an address in, by address: it stays open then.
    """
    result: dict[str, Departure] = {}
    for address, one in departures.items():
        if one.state == SPARED:
            result[address] = one
        elif by := open_by.get(address):
            result[address] = replace(one, state=OPEN, why=f"open by {by}", checked_at=now)
        elif why := unknown.get(address):
            result[address] = replace(one, state=OPEN, why=f"unknown: {why}", checked_at=now)
        else:
            evidence = "kernel and boot files read whole: nothing lets it in"
            result[address] = replace(one, state=CLOSED, why=evidence, checked_at=now)
    return result


def to_close(departures: Departures) -> frozenset[str]:
    """Return the departed addresses that nothing may let in: open ones, and closed ones too."""
    return frozenset(address for address, one in departures.items() if one.state != SPARED)


def content(departures: Departures) -> addresses.Content:
    """Return the newest departed addresses, for the kernel to keep out of connection tracking."""
    listed = sorted(to_close(departures), key=lambda address: -departures[address].since)
    return addresses.parse(listed[:_MAX_IN_KERNEL])


def still_open(departures: Departures) -> dict[str, str]:
    """Return what lets each open address in, or why that is not known."""
    return {address: one.why for address, one in departures.items() if one.state == OPEN}


def answer(departures: Departures, only: Iterable[str] | None = None) -> dict[str, dict[str, str]]:
    """
    Return the departures for the master: ``closed``, ``open``, ``unknown`` and ``spared``.

    only
        The addresses to answer for; every one where it is not given.
    """
    found: dict[str, dict[str, str]] = {}
    chosen = departures.keys() if only is None else departures.keys() & set(only)
    for address in sorted(chosen):
        one = departures[address]
        kind, why = one.state, one.why
        if kind == OPEN and not why.startswith("open by "):
            kind, why = "unknown", why.removeprefix("unknown: ")
        found.setdefault(kind, {})[address] = why.removeprefix("open by ")
    return found


def problems(departures: Departures) -> list[str]:
    """Return a sentence for each departure that is not closed, for status and drift."""
    return [
        f"{address} was removed and is not closed: {one.why}"
        for address, one in sorted(departures.items())
        if one.state == OPEN
    ]


def sentence(answered: Mapping[str, Mapping[str, str]]) -> str:
    """Return one sentence on the addresses of an answer that are not closed; empty without any."""
    listed = [
        *(f"{address} (open by {why})" for address, why in answered.get("open", {}).items()),
        *(f"{address} (unknown: {why})" for address, why in answered.get("unknown", {}).items()),
    ]
    if not listed:
        return ""
    more = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    return f"removed addresses are still open: {', '.join(listed[:_SHOWN])}{more}"


def _read(entry: Any) -> Departure:
    with contextlib.suppress(TypeError, ValueError):
        one = Departure(**entry)
        ports = (
            None if one.ports is None else tuple((str(a), int(b), int(c)) for a, b, c in one.ports)
        )
        one = replace(one, ports=ports, existing=tuple(map(str, one.existing)))
        if one.state in (OPEN, CLOSED, SPARED) and isinstance(one.since, (int, float)):
            return one
    return Departure(since=0.0, cause="recorded by another version")


def _bounded(departures: dict[str, Departure], now: float) -> dict[str, Departure]:
    """Drop closed ones after months, or beyond a number; an open one is never dropped."""
    closed = sorted(
        (one.since, address) for address, one in departures.items() if one.state == CLOSED
    )
    excess = max(0, len(closed) - _MAX_CLOSED)
    for at, (since, address) in enumerate(closed):
        # A clock that was set back makes nothing old.
        if at < excess or now - since > _KEPT_SECONDS:
            del departures[address]
    return departures
