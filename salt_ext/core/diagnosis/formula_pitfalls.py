"""What a formula makes of a reference, where that is not what the person who wrote it expects."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Any

from salt_ext.core.errors import BadReference
from salt_ext.core.references.reference import SCHEME, Reference, is_reference, parse

Lines = Callable[[str], Sequence[str] | None]
"""Returns what takes the place of a reference now, None when it cannot be told."""

_DEPTH = 100
_MANY = 50

_EVERYONE = "everyone"
_BROKEN = "a syntax error, so that nothing is applied any more"


@dataclass(frozen=True, slots=True, kw_only=True)
class Formula:
    """One place where a formula takes addresses."""

    name: str
    path: str
    """Keys of the pillar, from the top; ``*`` is any."""
    family: int | None = None
    """The only one that it takes there."""
    empty: str = ""
    """What an empty list means, where that is not nobody."""
    appends: bool = False
    """It never takes a rule away."""
    slow: bool = False
    """Each rule takes as long as all before it."""


_IPTABLES = "iptables-formula"

FORMULAS = (
    *(
        Formula(name=_IPTABLES, path=path, family=family, appends=True, slow=True)
        for path, family in (
            ("firewall:services:*:ips_allow", 4),
            ("firewall:services_ipv6:*:ips_allow", 6),
            ("firewall:whitelist:*:ips_allow", 4),
            ("firewall:whitelist_ipv6:*:ips_allow", 6),
            ("firewall:filter:*:rules:*:source", 4),
        )
    ),
    Formula(
        name="ufw-formula",
        path="ufw:services:*:from_addr",
        empty=_EVERYONE,
        appends=True,
        slow=True,
    ),
    Formula(name="ufw-formula", path="ufw:open", appends=True, slow=True),
    Formula(name="nftables-formula", path="nftables:defines:*", empty=_BROKEN),
    Formula(
        name="nftables-formula",
        path="nftables:configuration:*:set_elements:*:elements",
        empty=_BROKEN,
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pitfall:
    """Something to look at in a pillar."""

    where: str
    what: str
    mend: str
    certain: bool = False
    """It has come true; otherwise it waits."""
    hint: bool = False
    """It may be none: what would tell lies where the master cannot look."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    path: tuple[str, ...]
    text: str
    beside: tuple[Any, ...]
    """Everything in the list that it stands in, empty where it is no list."""

    @property
    def where(self) -> str:
        return ":".join(self.path)


def traps(pillar: Mapping[str, Any], lines: Lines) -> Iterator[Pitfall]:
    """Yield what is found in a pillar as people wrote it, before its references are replaced."""
    used: dict[str, list[tuple[Formula, _Place, Sequence[str] | None]]] = {}
    for place in _places(pillar):
        if not is_reference(place.text):
            yield Pitfall(
                where=place.where,
                what=f"{SCHEME} inside another text is no reference: it stays as it is",
                mend="put the reference where an address alone stands, in a list or a set",
            )
            continue
        try:
            wanted = parse(place.text)
        except BadReference:
            continue
        found = lines(place.text)
        for formula in FORMULAS:
            if _fits(formula.path, place.path):
                used.setdefault(formula.name, []).append((formula, place, found))
                yield from _at(formula, place, wanted, found)
    for name, places in used.items():
        yield from _whole(name, places, pillar)


def masters(pillar: Mapping[str, Any], grains: Mapping[str, Any]) -> tuple[str, ...]:
    """
    Return the masters that a minion is known to have, where they are more than one.

    A minion that is connected to several at once tells each only of that one; its list is known
    where it is managed by the salt-formula, or stands in its grains.
    """
    managed: Any = pillar
    for key in ("salt", "minion", "master"):
        managed = managed.get(key) if isinstance(managed, Mapping) else None
    for listed in (managed, grains.get("master")):
        if isinstance(listed, (list, tuple)) and len(found := tuple(map(str, listed))) > 1:
            return found
    return ()


def locks_out(pillar: Mapping[str, Any], several: Sequence[str]) -> Iterator[Pitfall]:
    """Yield whether a firewall of ours lets only one of several masters in."""
    ours = pillar.get("k8s_firewall")
    if not several or not isinstance(ours, Mapping) or ours.get("keep"):
        return
    if any(ours.get(key) for key in ("sets", "gates", "rules")):
        yield Pitfall(
            where="k8s_firewall",
            what=f"there are several masters ({', '.join(several)}), and each run lets in only the "
            "one that it came from: it closes what the run before opened, and ends its sessions",
            mend="write the addresses of all masters into k8s_firewall:keep (docs/topologies.md)",
        )


def _at(
    formula: Formula, place: _Place, wanted: Reference, found: Sequence[str] | None
) -> Iterator[Pitfall]:
    other = {4: ":", 6: "."}.get(formula.family or 0)
    if other and any(other in line for line in found or ()):
        yield Pitfall(
            where=place.where,
            what=f"{formula.name} takes only IPv{formula.family} there, and {place.text} has "
            "others: that state fails",
            mend=f"write family=ipv{formula.family}",
            certain=True,
        )
    only = all(is_reference(item) for item in place.beside)
    if formula.empty and place.beside and only and not wanted.placeholder:
        yield Pitfall(
            where=place.where,
            what=f"{formula.name} takes an empty list for {formula.empty}, and {place.text} "
            + ("means no node now" if found == () else "is empty when no node is meant"),
            mend="write empty=placeholder",
            certain=found == (),
        )
    if formula.path == "ufw:services:*:from_addr":
        if not place.beside:
            yield Pitfall(
                where=place.where,
                what="a reference alone repeats the service, whose id is its port",
                mend="write a list",
                certain=True,
            )
        if any(line[:1].isalpha() for line in found or ()):
            yield Pitfall(
                where=place.where,
                what="an address that begins with a letter fails its state in ufw-formula",
                mend="write family=ipv4",
                certain=True,
            )


def _whole(
    name: str,
    places: list[tuple[Formula, _Place, Sequence[str] | None]],
    pillar: Mapping[str, Any],
) -> Iterator[Pitfall]:
    wheres = ", ".join(dict.fromkeys(place.where for _, place, _ in places))
    ours = pillar.get("k8s_firewall")
    if any(formula.appends for formula, _, _ in places) and not (
        isinstance(ours, Mapping) and "prune" in ours
    ):
        yield Pitfall(
            where=wheres,
            what=f"{name} never takes a rule away: a node that has left stays open",
            mend="write k8s_firewall:prune (docs/firewall.md), or use a set and a gate",
        )
    many = sum(len(found or ()) for formula, _, found in places if formula.slow)
    if many > _MANY:
        yield Pitfall(
            where=wheres,
            what=f"{many} addresses are as many rules, and each takes {name} as long as all before "
            "it: minutes for a run",
            mend="name a set of k8s_firewall in one rule",
        )
    firewall = pillar.get("firewall")
    if (
        name == _IPTABLES
        and isinstance(firewall, Mapping)
        and firewall.get("strict") is True
        and firewall.get("ipv6") is not True
    ):
        yield Pitfall(
            where="firewall:strict",
            what="without ipv6: true this formula does not filter IPv6 at all",
            mend="write ipv6: true, and services_ipv6",
        )


def _fits(pattern: str, path: tuple[str, ...]) -> bool:
    wanted = pattern.split(":")
    return len(wanted) == len(path) and all(map(fnmatch, path, wanted))


def _places(root: Mapping[str, Any]) -> Iterator[_Place]:
    """Yield each text with our scheme in it; a list's items stand at the path of the list."""
    stack: list[tuple[tuple[str, ...], Any, tuple[Any, ...], int]] = [((), root, (), 0)]
    seen: set[int] = set()
    while stack:
        path, value, beside, depth = stack.pop()
        if isinstance(value, str):
            if SCHEME in value:
                yield _Place(path=path, text=value, beside=beside)
            continue
        if not isinstance(value, (Mapping, list, tuple)) or depth > _DEPTH or id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, Mapping):
            for key, below in value.items():
                stack.append(((*path, str(key)), below, (), depth + 1))
                if isinstance(key, str) and SCHEME in key:
                    stack.append((path, key, (), depth + 1))
            continue
        for number, item in enumerate(value):
            inside = isinstance(item, (Mapping, list, tuple))
            at = (*path, str(number)) if inside else path
            stack.append((at, item, () if inside else tuple(value), depth + 1))
