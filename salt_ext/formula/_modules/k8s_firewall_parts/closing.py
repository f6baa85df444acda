"""
Close departed addresses: delete what lets them in, end their connections, read the proof.

The order is what makes a failure harmless: the obligation is recorded first, each place is tried
whatever failed before, and only a reading after all of it ends the obligation.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from . import (
    connections,
    departures,
    errors,
    flows,
    ownership,
    prune,
    reading,
    service_ports,
    verify,
)
from .departures import CLOSED, OPEN, SPARED, Departure, Departures
from .desired import Desired, ParsedPillar, Pillar
from .openings import Opening
from .state_dir import StateDir

NOT_SERVED = "no reference serves it any more"
NAMED = "named by the master"
LEFT_A_SET = "removed from a set"

_SHOWN = 3
"""Openings of one address in an answer."""


@dataclass
class Outcome:
    """What became of the departed addresses."""

    departures: dict[str, Departure] = field(default_factory=dict)
    news: set[str] = field(default_factory=set)
    """The addresses to answer for although they are closed."""
    pruned: dict[str, list[str]] = field(default_factory=dict)
    connections: dict[str, Mapping[str, int]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    held: dict[str, str] = field(default_factory=dict)
    """Addresses that may be departed, and why that is not known."""

    def answer(self) -> dict[str, dict[str, str]]:
        """Return the departures for the master: all that are not closed, and the news."""
        listed = (
            address
            for address, one in self.departures.items()
            if one.state != CLOSED or address in self.news
        )
        answer = departures.answer(self.departures, listed)
        if self.held:
            answer.setdefault("unknown", {}).update(self.held)
        return answer


def begin(
    state_dir: StateDir,
    pillar: Pillar,
    parsed: ParsedPillar,
    named: Mapping[str, float],
    left_sets: Iterable[str] = (),
    applied: Desired | None = None,
) -> dict[str, Departure]:
    """
    Return the departures that a pillar makes of the recorded ones; nothing is written.

    named
        Addresses that the master names, with the time since when they are removed, or 0.
    left_sets
        Entries that this run takes out of this module's own sets.
    applied
        The firewall that was applied before: it says which ports were open for an address.
    """
    now = time.time()
    known = departures.recorded(state_dir)
    served, before = ownership.served(pillar), ownership.recorded(state_dir)
    existing = ownership.existing(state_dir)

    def departure(entry: str, cause: str, since: float = now, *, by_us: bool = True) -> Departure:
        in_a_set = applied is not None and applied.has_entry(entry)
        ports = service_ports.opened_for(applied, entry) if applied and in_a_set else None
        return Departure(
            since=since,
            cause=cause,
            served=by_us,
            ports=None if ports is None else tuple(sorted(ports)),
            existing=tuple(sorted(existing.get(entry, ()))),
        )

    new = {entry: departure(entry, LEFT_A_SET, by_us=entry in before) for entry in left_sets}
    # While a reference is not resolved, an absent address may be one that it means.
    if not ownership.unresolved(pillar):
        new |= {
            entry: departure(entry, NAMED, since or now)
            for entry, since in named.items()
            # Without a time it may be the departure that is known already.
            if since or entry not in known
        }
        new |= {entry: departure(entry, NOT_SERVED) for entry in before - served}
    # One that was closed, let in again and has left again: its connections are new ones.
    again = {entry for entry, one in new.items() if entry in known and _is_later(one, known[entry])}
    known = {entry: one for entry, one in known.items() if entry not in again}
    entries = known.keys() | new.keys()
    wanted = {entry for entry in entries if entry in served or parsed.desired.wants(entry)}
    spared = ownership.spared(pillar, entries - wanted, parsed.desired.keep)
    return departures.updated(known, new, wanted, spared, now)


def _is_later(new: Departure, known: Departure) -> bool:
    return known.state == CLOSED and new.served and new.since > known.since


def left_sets(state_dir: StateDir, entries: Iterable[str]) -> None:
    """Record entries whose connections could not be ended when they left this module's sets."""
    now = time.time()
    new = {entry: Departure(since=now, cause=LEFT_A_SET, served=False) for entry in entries}
    known = departures.recorded(state_dir)
    departures.record(state_dir, departures.updated(known, new, (), {}, now))


def close(
    state_dir: StateDir,
    pillar: Pillar,
    parsed: ParsedPillar,
    found: Departures,
    named: Iterable[str] = (),
    *,
    test: bool,
) -> Outcome:
    """
    Delete rules and end connections of departed addresses, and read what is left.

    While a reference is not resolved, nothing is deleted: an address may be one that it means.

    named
        Addresses that the master names.
    test
        Delete and record nothing: return what would be deleted, and what is open now.
    """
    outcome = Outcome(dict(found))
    entries = {address for address, one in found.items() if one.state != SPARED}
    unresolved = ownership.unresolved(pillar)
    if unresolved:
        absent = ownership.recorded(state_dir).union(named) - ownership.served(pillar)
        reason = f"{unresolved[0]} is not resolved, so its addresses are unknown"
        outcome.held = dict.fromkeys(sorted(absent - found.keys()), reason)
    if not entries:
        return outcome
    saved = parsed.prune.saved if parsed.prune else None
    first = _named(found, entries, saved)
    config = None if unresolved else parsed.prune
    if config is not None:
        listed = (one for openings in first.by.values() for one in openings)
        pruned = prune.prune(config, listed, test=test)
        outcome.pruned = pruned.deleted
        outcome.problems += pruned.problems
    if test:
        left = {
            address: tuple(one for one in openings if config is None or not config.covers(one))
            for address, openings in first.by.items()
        }
        open_by = {address: _shown(openings) for address, openings in left.items() if openings}
        outcome.departures = departures.judged(found, open_by, first.unknown, now=time.time())
        return outcome
    reopened = {address for address in first.by if found[address].state == CLOSED}
    ending = {address for address in entries if found[address].state == OPEN} | reopened
    if unresolved:
        # What left a set of this module is certain: a set with such a reference keeps its content.
        ending = {address for address in ending if found[address].cause == LEFT_A_SET}
    scopes = {entry: _scope(found[entry], first.by.get(entry, ())) for entry in ending}
    allowed = ownership.StillAllowed(pillar, parsed.desired.all_sets().values())
    connected = _end_connections(scopes, allowed, outcome)
    going_on = {**_end_flows(scopes, allowed, outcome), **connected}
    again = outcome.pruned or outcome.connections
    last = _named(found, entries, saved) if again else first
    open_by = {address: _shown(openings) for address, openings in last.by.items()}
    for address, reason in going_on.items():
        open_by.setdefault(address, reason)
    before = departures.recorded(state_dir)
    outcome.departures = departures.judged(found, open_by, last.unknown, now=time.time())
    outcome.news = {
        address
        for address, one in outcome.departures.items()
        if address not in before or before[address].state != one.state
    }
    return outcome


def read_again(found: Departures) -> dict[str, Departure]:
    """Return the departures after a reading, which changes nothing; connections are not read."""
    entries = {address for address, one in found.items() if one.state != SPARED}
    if not entries:
        return dict(found)
    read = _named(found, entries)
    open_by = {address: _shown(openings) for address, openings in read.by.items()}
    return departures.judged(found, open_by, read.unknown, now=time.time())


@dataclass(frozen=True)
class _Reading:
    by: Mapping[str, tuple[Opening, ...]]
    """The openings that name an address, by address."""
    unknown: Mapping[str, str]
    """What could not be read whole and may name an address, by address."""


def _named(
    found: Departures, entries: Iterable[str], saved: Iterable[str] | None = None
) -> _Reading:
    """Read the kernel and the boot files, also those ``saved``, for what names the entries."""
    listed = sorted(entries)
    files = tuple(dict.fromkeys([*reading.SAVED, *(saved or ())]))
    try:
        verdicts = verify.find(reading.read_named(listed, files), listed)
    except (errors.FirewallError, OSError) as exc:
        return _Reading({}, dict.fromkeys(listed, str(exc)))
    # A person may have a rule of his own for an address that only left a set.
    by = {
        address: verdict.named
        for address, verdict in verdicts.items()
        if verdict.named and found[address].served
    }
    return _Reading(by, {address: one.why for address, one in verdicts.items() if one.unknown})


def _end_connections(
    ending: Mapping[str, connections.Scope], allowed: Callable[[str], bool], outcome: Outcome
) -> dict[str, str]:
    """End connections; return, for an address that may still have one, the reason."""
    if not ending:
        return {}
    try:
        counts = connections.end(ending, allowed)
    except errors.FirewallError as exc:
        outcome.problems.append(f"connections of removed addresses were not ended: {exc}")
        return dict.fromkeys(ending, f"its connections are unknown: {exc}")
    outcome.connections = dict(counts)
    if problem := connections.still_open(counts):
        outcome.problems.append(problem)
    open_now = (address for address, one in counts.items() if one["still_open"])
    return {
        entry: f"connections of {address} that this kernel does not end"
        for address in open_now
        for entry in ending
        if ownership.covers(entry, address)
    }


def _end_flows(
    ending: Mapping[str, connections.Scope], allowed: Callable[[str], bool], outcome: Outcome
) -> dict[str, str]:
    """End flows; return, for an address that may still have one, the reason."""
    closing = {
        entry: scope for entry, scope in ending.items() if "/" in entry or not allowed(entry)
    }
    try:
        return flows.end(closing)
    except OSError as exc:
        outcome.problems.append(f"flows of removed addresses were not ended: {exc}")
        return dict.fromkeys(closing, f"its flows are unknown: {exc}")


def _scope(one: Departure, openings: Iterable[Opening]) -> connections.Scope:
    """Return which connections of an address are ended: to the ports that were open for it."""
    known = [None if one.ports is None else frozenset(one.ports), *(it.ports for it in openings)]
    listed = [ports for ports in known if ports is not None]
    # Its rule may be gone already, and with it the port: then each port that is listened on.
    unknown = any(it.ports is None for it in openings) or not listed
    ports = None if unknown else frozenset().union(*listed)
    return connections.Scope(ports, frozenset(one.existing))


def _shown(openings: tuple[Opening, ...]) -> str:
    # A member that the kernel and a file have is one opening for each.
    texts = list(dict.fromkeys(map(str, openings)))
    shown = "; ".join(texts[:_SHOWN])
    return f"{shown}; and {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else shown
