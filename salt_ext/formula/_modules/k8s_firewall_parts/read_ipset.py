"""
Read what ``ipset save`` prints, and files of that form, whatever types and options the sets have.

A member is the first word after the name of its set; addresses, networks and ranges stand in it
between commas, beside ports, protocols and interfaces.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from . import intervals
from .chains import NamedSet
from .intervals import Interval
from .openings import IpsetMember, Removal

_LENGTHS = frozenset(map(str, range(129)))


@dataclass
class SavedSet:
    """One ipset: its type, its members as they are written, and their lines from 0."""

    name: str
    type: str = ""
    members: list[str] = field(default_factory=list)
    netmask: int | None = None
    """Where each member stands for a network of this length."""


def parse(saved: str) -> dict[str, SavedSet]:
    """Read a saved text; what has another form is left out."""
    found: dict[str, SavedSet] = {}
    for line in saved.split("\n"):
        words = _words(line)
        if len(words) < 3:
            continue
        verb, name = words[0], words[1]
        if verb in ("create", "-N", "n", "new"):
            one = found.setdefault(name, SavedSet(name))
            one.type, one.netmask = words[2], _netmask(words)
        elif verb in ("add", "-A", "a"):
            found.setdefault(name, SavedSet(name)).members += _member(words)
    return found


def _netmask(words: list[str]) -> int | None:
    options = words[3].split() if len(words) > 3 else []
    lengths = [after for word, after in itertools.pairwise(options) if word == "netmask"]
    return int(lengths[0]) if lengths and lengths[0] in _LENGTHS else None


def _member(words: list[str]) -> list[str]:
    # "nomatch" takes an address out of a network around it.
    return [] if len(words) > 3 and "nomatch" in words[3].split('"')[0].split() else [words[2]]


def _words(line: str) -> list[str]:
    words = line.split(None, 3)
    # ipset restore takes options in any place before the command.
    while words and words[0] in ("-exist", "-!", "-quiet", "-q"):
        words = words[1:] if len(words) < 4 else [*words[1:3], *words[3].split(None, 1)]
    return words


def named_set(name: str, sets: Mapping[str, SavedSet], place: str) -> NamedSet:
    """Return a set with its elements; one of type list:set has those of its members."""
    found = list(_elements(name, sets, frozenset()))
    removals: dict[tuple[object, ...], list[Removal]] = {}
    for element, member in found:
        removals.setdefault(element, []).append(member)
    return NamedSet(place, [element for element, _ in found], removals=removals)


def _elements(
    name: str, sets: Mapping[str, SavedSet], seen: frozenset[str]
) -> Iterator[tuple[tuple[object, ...], IpsetMember]]:
    one = sets.get(name)
    if one is None or name in seen:
        return
    for member in one.members:
        if one.type == "list:set":
            yield from _elements(member, sets, seen | {name})
        else:
            first, *rest = member.split(",")
            element = (_part(first, one.netmask), *(_part(part) for part in rest))
            yield element, IpsetMember(one.name, member)


def _part(text: str, netmask: int | None = None) -> object:
    found: Interval | None = intervals.parse(text)
    if found is None:
        return text
    wider = intervals.network(found, netmask) if netmask is not None else None
    return wider or found


def addresses_of(one: SavedSet) -> Iterable[Interval]:
    """Return every address, network and range that a set names, in whatever place."""
    for member in one.members:
        for part in member.split(","):
            found = intervals.parse(part)
            if found is not None:
                yield found
