"""
Kernel sets for rules of iptables, whoever writes the rules; text in, text out.

Each named set becomes two ipsets of type hash:net, ``<name>_v4`` and ``<name>_v6``: that type holds
addresses and networks, which may overlap. (hash:ip would take a network apart into addresses.)
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from . import addresses, errors

LIST_NAMES = ["ipset", "list", "-name"]
READ = ["ipset", "save"]
"""Followed by a name: the sets of others may have a million entries."""
APPLY = ["ipset", "restore"]
FLUSH = ["ipset", "flush"]
DESTROY = ["ipset", "destroy"]
SCRATCH = "k8sfw-"
"""How the names of temporary sets begin, which are filled first and then swapped in."""

_FAMILIES = {"v4": "inet", "v6": "inet6"}
# hash:net has no network of length 0.
_EVERYTHING = {"0.0.0.0/0": ("0.0.0.0/1", "128.0.0.0/1"), "::/0": ("::/1", "8000::/1")}
_MIN_MAXELEM = 65536
_TYPE = "hash:net"
# Others change what the set lets in: a timeout removes entries, forceadd evicts some when it is
# full, and what a rule of another program asks of an entry may come from it (comment, skbinfo).
_OPTIONS = frozenset({"family", "hashsize", "maxelem", "bucketsize", "initval"})
_DIGITS = re.compile(r"[0-9]{1,10}")


@dataclass(frozen=True)
class IpSet:
    """One set as the kernel has it."""

    type: str
    family: str
    maxelem: int
    members: frozenset[str]
    """Those that are addresses or networks; of ``nomatch`` entries there are none here."""
    clean: bool = True
    """Whether it has no other options than this module's sets, and its entries have none."""


def names(sets: Iterable[str]) -> frozenset[str]:
    """Return the kernel's names of sets."""
    return frozenset(f"{name}_{family}" for name in sets for family in _FAMILIES)


def members(sets: Mapping[str, addresses.Content]) -> dict[str, frozenset[str]]:
    """Return the desired members of the kernel's sets, by the kernel's names."""
    desired: dict[str, frozenset[str]] = {}
    for name, content in sets.items():
        parts = content.parts()
        for family in _FAMILIES:
            entries = parts[family] | parts[f"{family}_net"]
            for everything in entries & _EVERYTHING.keys():
                entries = (entries - {everything}).union(_EVERYTHING[everything])
            desired[f"{name}_{family}"] = entries
    return desired


def parse(saved: str) -> dict[str, IpSet]:
    """Read the output of ``ipset save``."""
    options: dict[str, list[str]] = {}
    added: dict[str, list[str]] = {}
    for line in saved.splitlines():
        verb, _, rest = line.partition(" ")
        name, _, rest = rest.partition(" ")
        if verb == "add" and rest and name in added:
            added[name].append(rest)
        elif verb == "create" and (words := rest.split()):
            options[name], added[name] = words, []
    return {name: _parse_one(words, added[name]) for name, words in options.items()}


def _parse_one(words: list[str], entries: list[str]) -> IpSet:
    members: set[str] = set()
    clean = _OPTIONS.issuperset(words[1::2]) and len(words) % 2 == 1
    for entry in entries:
        # Options of an entry come after it: timeout, comment, packets, nomatch.
        member, _, more = entry.partition(" ")
        clean = clean and not more
        if "nomatch" in more.split():
            continue
        try:
            members.add(
                (addresses.canonical_network if "/" in member else addresses.canonical)(member)[1]
            )
        except addresses.InvalidAddress:
            clean = False
    return IpSet(
        type=words[0],
        family=_option(words, "family"),
        maxelem=_number(_option(words, "maxelem")),
        members=frozenset(members),
        clean=clean,
    )


def changes(current: Mapping[str, IpSet], desired: Mapping[str, frozenset[str]]) -> str:
    """Return the input for one ``ipset restore`` that gives the sets their desired members."""
    filled: list[str] = []
    swapped: list[str] = []
    lines = [f"destroy {name}" for name in current if name.startswith(SCRATCH)]
    for number, (name, new) in enumerate(sorted(desired.items())):
        family = _FAMILIES[name[-2:]]
        old = current.get(name)
        if old is None:
            filled += _create(name, family, new)
            continue
        if (old.type, old.family) != (_TYPE, family):
            raise errors.Refused(
                f"another program has an ipset {name} of type {old.type} {old.family}: choose "
                f"another name for the set in k8s_firewall:sets"
            )
        added, removed = new - old.members, old.members - new
        if not added and not removed and old.clean:
            continue
        if old.clean and len(new) <= old.maxelem and len(added) + len(removed) <= len(new):
            # Delete before add: a full set takes nothing.
            swapped += [f"del {name} {entry}" for entry in sorted(removed)]
            swapped += [f"add {name} {entry}" for entry in sorted(added)]
        else:
            scratch = f"{SCRATCH}{number}"
            filled += _create(scratch, family, new)
            swapped += [f"swap {scratch} {name}", f"destroy {scratch}"]
    # All that can fail for want of memory comes before the first change.
    return "".join(f"{line}\n" for line in [*lines, *filled, *swapped])


def full(desired: Mapping[str, frozenset[str]]) -> str:
    """Return the input that makes the sets where there are none."""
    return changes({}, desired)


def boot_names(desired: Mapping[str, frozenset[str]]) -> str:
    """Return the lines that make each set, to be run one by one: some may exist."""
    lines = (_made(name, _FAMILIES[name[-2:]], new) for name, new in sorted(desired.items()))
    return "".join(f"{line}\n" for line in lines)


def boot(desired: Mapping[str, frozenset[str]]) -> str:
    """Return the input for ``ipset -exist restore`` that replaces sets, whatever is in them."""
    filled: list[str] = []
    swapped: list[str] = []
    for number, (name, new) in enumerate(sorted(desired.items())):
        scratch = f"{SCRATCH}{number}"
        made, *added = _create(scratch, _FAMILIES[name[-2:]], new)
        # One that was left by a boot that was cut off.
        filled += [made, f"flush {scratch}", *added]
        swapped += [f"swap {scratch} {name}", f"destroy {scratch}"]
    return "".join(f"{line}\n" for line in [*filled, *swapped])


def _create(name: str, family: str, new: frozenset[str]) -> Iterator[str]:
    yield _made(name, family, new)
    for entry in sorted(new):
        yield f"add {name} {entry}"


def _made(name: str, family: str, new: frozenset[str]) -> str:
    # Room to double; the kernel enlarges the hash table by itself.
    maxelem = max(_MIN_MAXELEM, 1 << (2 * len(new)).bit_length())
    return f"create {name} {_TYPE} family {family} hashsize 1024 maxelem {maxelem}"


def _option(words: list[str], name: str) -> str:
    at = words.index(name) + 1 if name in words else len(words)
    return words[at] if at < len(words) else ""


def _number(text: str) -> int:
    return int(text) if _DIGITS.fullmatch(text) else 0
