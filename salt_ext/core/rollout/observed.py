"""
What would have been published while a cluster or a class of minions is in mode ``observe``.

Each change is compared with the one before it, and not with what was last applied: with the
addresses that would be in force by then, if every change so far had been made. Otherwise each
entry would repeat all changes since the mode was set.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from itertools import accumulate

from salt_ext.core.config.apply import Action, Mode
from salt_ext.core.config.config import Config
from salt_ext.core.display import names, parse_time
from salt_ext.core.references.resolve import digest
from salt_ext.core.rollout.departures import Served
from salt_ext.core.rollout.drift import Desired, Resolved

MAX_LISTED = 100
"""Addresses that one entry names."""

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}


class What(str, Enum):
    """What would have happened."""

    APPLY = "would_apply"
    """A publish, since the addresses changed."""
    REAPPLY = "would_reapply"
    """A publish of the same addresses: the minion restarted, or reported drift."""
    HOLD = "would_hold"
    """No publish: a guard holds a change of the cluster."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """What would be in force for one minion and cluster, if all changes so far had been made."""

    digest: str
    seen: str
    """Stands for what was desired then, with the references that were unresolved."""


@dataclass(frozen=True, slots=True)
class Addresses:
    """Addresses, of which only the first are named."""

    count: int = 0
    first: tuple[str, ...] = ()

    @staticmethod
    def of(ordered: Sequence[str]) -> Addresses:
        """Return all of these, in their order."""
        return Addresses(len(ordered), tuple(ordered[:MAX_LISTED]))


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedChange:
    """One change that was not made, on all minions where it is the same."""

    what: What
    cluster: str
    why: str
    key: str
    """The same for the same change, whenever it comes and on whichever minions."""
    subject: str
    """Whose change it is: the entries of each get a fair share of the room."""
    minions: tuple[str, ...] = ()
    observed_by: str = ""
    """The cluster, the class, or both that are in mode ``observe``."""
    revision: int | None = None
    publishes: str | None = None
    class_: str | None = None
    opens: Addresses = Addresses()
    closes: Addresses = Addresses()
    desired: int = 0
    """Number of addresses that would be open after it."""
    first: tuple[str, ...] = ()
    """The minions among them that would have been published to first."""
    rollout: str = ""
    """How the others would have followed."""
    waits: str = ""
    """Why it would not have been published at that moment."""
    nodes: tuple[str, ...] = ()
    """The nodes of a change that a guard holds."""
    folded: int = 0
    """Later changes that this entry has too: ``opens`` and ``closes`` are what all come to."""

    def followed_by(self, later: ObservedChange) -> ObservedChange:
        """Return one entry for this change and a later one on the same minions."""
        return replace(
            later,
            key=f"{self.key} and more",
            subject=self.subject,
            opens=_net(self.opens, later.closes, later.opens, self.closes),
            closes=_net(self.closes, later.opens, later.closes, self.opens),
            folded=self.folded + 1,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """The addresses that one change would open and close on a minion."""

    opens: frozenset[str]
    closes: frozenset[str]


def _net(early: Addresses, undone: Addresses, late: Addresses, was: Addresses) -> Addresses:
    """Return what is left of two changes; ``late`` undoes what ``was`` done before."""
    first = [text for text in early.first if text not in undone.first]
    first += [text for text in late.first if text not in {*was.first, *first}]
    # Of those without a name it is unknown whether they come back.
    unnamed = early.count - len(early.first) + late.count - len(late.first)
    return Addresses(len(first) + unnamed, tuple(first[:MAX_LISTED]))


def any_observed(config: Config) -> bool:
    """Whether any cluster or class is in mode ``observe``."""
    actions = (*config.apply.classes, config.apply.default)
    return any(action.mode is Mode.OBSERVE for action in actions) or any(
        config.mode(name) is Mode.OBSERVE for name in config.names
    )


def observed_by(config: Config, cluster: str, action: Action | None) -> str:
    """
    Return what keeps a minion from changes of a cluster; empty where they are published.

    A minion of unknown class may be in any class, so it counts as observed where one is.
    """
    found = [f"cluster {cluster}"] if config.mode(cluster) is Mode.OBSERVE else []
    if action is not None and action.mode is Mode.OBSERVE:
        found.append(f"class {action.name or '(none)'}")
    every = (*config.apply.classes, config.apply.default)
    if action is None and any(one.mode is Mode.OBSERVE for one in every):
        found.append("unknown class")
    return " and ".join(found)


def mark(target: Desired) -> str:
    """Return what stands for a desired state with its unresolved references."""
    if not target.unresolved:
        return target.digest
    return digest({**target.resolved, **dict.fromkeys(target.unresolved, ("unresolved",))})


def in_force_after(before: Resolved, target: Desired) -> Resolved:
    """Return what a run would leave in force: an unresolved reference keeps what it had."""
    kept = {text: before[text] for text in target.unresolved if text in before}
    return {**target.resolved, **kept}


def shift(
    before: Served,
    now: Served,
    elsewhere_before: Collection[Served] = (),
    elsewhere_now: Collection[Served] = (),
) -> Shift:
    """
    Return what separates the addresses of one cluster on a minion before and now.

    ``elsewhere`` are the minion's other clusters: what those serve too neither opens nor closes.
    """
    opens, closes = before.without(now.addresses), now.without(before.addresses)
    for other in elsewhere_before:
        opens = other.without(opens)
    for other in elsewhere_now:
        closes = other.without(closes)
    return Shift(opens=opens, closes=closes)


def causes(before: Resolved, now: Resolved, unresolved: Collection[str] = ()) -> str:
    """Return why addresses changed, by reference."""
    found = [f"reference {text} removed" for text in sorted(before.keys() - now.keys())]
    for text, addresses in sorted(now.items()):
        if text not in before:
            found.append(f"reference {text} added")
        elif before[text] != addresses:
            found.append(f"nodes of {text} changed")
    found += [f"reference {text} is unresolved" for text in sorted(unresolved)]
    return "; ".join(found[:5]) + (f"; and {len(found) - 5} more" if len(found) > 5 else "")


def steps(count: int, first: Collection[str], *, canary: int, batch: int) -> str:
    """Return how a change would roll over ``count`` minions of a class."""
    rest = count - len(first)
    begin = f"canary {names(first)}" if canary else f"first batch: {names(first)}"
    if not first or rest <= 0:
        return begin if first else ""
    batches = -(-rest // batch)
    follow = _count(rest, "minion")
    return f"{begin}; then {follow} in {batches} batch{'es' if batches > 1 else ''}"


def surplus(rows: Sequence[tuple[int, str]], limit: int) -> list[int]:
    """
    Return which entries to drop, so that at most ``limit`` are left; ``rows`` are in order of age.

    Each subject gets a fair share: who has most entries loses the oldest of them first, so that
    one that flaps cannot wash out the others.
    """
    if len(rows) <= limit:
        return []
    counts = Counter(subject for _, subject in rows)
    share = _fair_share(sorted(counts.values()), limit)
    kept, dropped = [], []
    for number, subject in rows:
        if counts[subject] > share:
            counts[subject] -= 1
            dropped.append(number)
        else:
            kept.append(number)
    return [*dropped, *kept[: max(0, len(kept) - limit)]]


def _fair_share(counts: Sequence[int], limit: int) -> int:
    """Return the largest number of entries for each, at least one, with which all have room."""
    sums = [0, *accumulate(counts)]

    def needed(share: int) -> int:
        small = bisect_right(counts, share)
        return sums[small] + share * (len(counts) - small)

    low, high = 1, max(1, limit)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if needed(middle) <= limit else (low, middle - 1)
    return low


def start_of(since: str, now: float) -> float:
    """
    Return the time that ``since`` names: ``6d``, ``12h``, or a date and time in ISO 8601 and UTC.

    :class:`ValueError` for any other text.
    """
    if ago := re.fullmatch(r"(\d{1,9})([smhdw])", since.strip()):
        return now - int(ago[1]) * _UNITS[ago[2]]
    return parse_time(since)


def duration(seconds: float) -> str:
    """Return a duration in one unit, as an operator would say it."""
    for unit, length in (("day", 86_400.0), ("hour", 3600.0), ("minute", 60.0)):
        if seconds >= length:
            count = round(seconds / length)
            return f"{count} {unit}{'s' if count > 1 else ''}"
    return "a minute"


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """What a time of observing comes to."""

    since: float
    """Of the oldest entry."""
    changes: int = 0
    opens: int = 0
    closes: int = 0
    holds: int = 0
    minions: int = 0

    def text(self, now: float) -> str:
        """Return it as one line."""
        span = duration(now - self.since)
        on = f", on {self.minions} minion{'s' if self.minions != 1 else ''}"
        return (
            f"in {span}: {_count(self.changes, 'change')}, {_count(self.opens, 'opening')} and "
            f"{_count(self.closes, 'closing')} of addresses{on if self.changes else ''}; "
            f"would have been held: {self.holds}"
        )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def key_of(parts: Iterable[object]) -> str:
    """Return a digest of the parts that make a change the same."""
    return digest({"": tuple(map(str, parts))})


def subject_of(minions: Mapping[str, object] | Collection[str], moved: Shift) -> str:
    """Return whose change it is: of one minion, or of the nodes with these addresses."""
    if len(minions) == 1:
        return f"minion {next(iter(minions))}"
    return f"addresses {digest({'': sorted(moved.opens | moved.closes)})}"
