"""Places in a pillar where a formula handles a reference in an unexpected way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch

from salt_ext.core.config.apply import MODULE
from salt_ext.core.errors import BadReference
from salt_ext.core.references.reference import SCHEME, Reference, is_reference, parse

Resolve = Callable[[str], Sequence[str] | None]
"""Returns the addresses of a reference now, None when it cannot be resolved."""

_MAX_DEPTH = 100
_MANY_RULES = 50

_ANY_ADDRESS = "any address"
_NOTHING_LOADED = (
    "its file does not load: a run fails, and after a boot there is no rule and everyone gets in"
)
_SYNTAX_ERROR = "a syntax error, so that no rule is applied any more"


@dataclass(frozen=True, slots=True, kw_only=True)
class Formula:
    """One place in the pillar where a formula reads addresses."""

    name: str
    path: str
    """Keys of the pillar from the top, separated by colons; ``*`` matches any."""
    family: int | None = None
    """The only accepted family: 4 or 6."""
    empty: str = ""
    """How the formula treats an empty list, if not as no address."""
    appends: bool = False
    """It adds rules and never removes one."""
    slow: bool = False
    """The time for each rule grows with the number of rules."""
    whole: bool = False
    """Its file is loaded whole at boot: one bad line, and no rule is loaded."""


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
        empty=_ANY_ADDRESS,
        appends=True,
        slow=True,
    ),
    Formula(name="ufw-formula", path="ufw:open", appends=True, slow=True),
    *(
        Formula(
            name="salt-formula-iptables",
            path=f"iptables:tables:v{family}:*:chains:*:ruleset:*:source",
            family=family,
            whole=True,
        )
        for family in (4, 6)
    ),
    Formula(name="nftables-formula", path="nftables:config:tables:*:sets:*:elements", whole=True),
    Formula(name="nftables-formula", path="nftables:defines:*", empty=_SYNTAX_ERROR, whole=True),
    Formula(
        name="nftables-formula",
        path="nftables:configuration:*:set_elements:*:elements",
        empty=_SYNTAX_ERROR,
        whole=True,
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pitfall:
    """One pitfall in a pillar."""

    where: str
    what: str
    fix: str
    certain: bool = False
    """It is wrong now; otherwise it will be, in some situation."""
    hint: bool = False
    """It may be harmless: the master cannot see the files that decide."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    path: tuple[str, ...]
    text: str
    siblings: tuple[object, ...]
    """All items of the list that contains it; empty when it is not in a list."""

    @property
    def where(self) -> str:
        return ":".join(self.path)


def pitfalls(pillar: Mapping[str, object], resolve: Resolve) -> Iterator[Pitfall]:
    """Yield the pitfalls in a pillar before its references are replaced."""
    used: dict[str, list[tuple[Formula, _Place, Sequence[str] | None]]] = {}
    for place in _places(pillar):
        if not is_reference(place.text):
            yield Pitfall(
                where=place.where,
                what=f"{SCHEME} within a longer text is not replaced",
                fix="make the reference a value of its own, in a list or a set",
            )
            continue
        try:
            reference = parse(place.text)
        except BadReference:
            continue
        addresses = resolve(place.text)
        for formula in FORMULAS:
            if _fits(formula.path, place.path):
                used.setdefault(formula.name, []).append((formula, place, addresses))
                yield from _pitfalls_at(formula, place, reference, addresses)
    for name, places in used.items():
        yield from _pitfalls_of_formula(name, places, pillar)


def _pitfalls_at(
    formula: Formula, place: _Place, reference: Reference, addresses: Sequence[str] | None
) -> Iterator[Pitfall]:
    other_family = {4: ":", 6: "."}.get(formula.family or 0)
    if other_family and any(other_family in address for address in addresses or ()):
        yield Pitfall(
            where=place.where,
            what=f"{formula.name} accepts only IPv{formula.family} here; {place.text} has other "
            "addresses, so " + (_NOTHING_LOADED if formula.whole else "its state fails"),
            fix=f"add family=ipv{formula.family} to the reference",
            certain=True,
        )
    if formula.whole and addresses is None:
        yield Pitfall(
            where=place.where,
            what=f"{place.text} is not resolved, so {_NOTHING_LOADED}",
            fix="correct the reference, or take it out of the pillar until its cluster is seen",
            certain=True,
        )
    only_references = all(map(is_reference, place.siblings))
    if formula.empty and place.siblings and only_references and not reference.placeholder:
        yield Pitfall(
            where=place.where,
            what=f"{formula.name} treats an empty list as {formula.empty}; {place.text} "
            + ("matches no node now" if addresses == () else "is empty when it matches no node"),
            fix="add empty=placeholder to the reference",
            certain=addresses == (),
        )
    if formula.path == "ufw:services:*:from_addr":
        if not place.siblings:
            yield Pitfall(
                where=place.where,
                what="a reference outside of a list repeats the service, whose id is its port",
                fix="put the reference into a list",
                certain=True,
            )
        if any(address[:1].isalpha() for address in addresses or ()):
            yield Pitfall(
                where=place.where,
                what="ufw-formula fails on an address that begins with a letter, as fd00::1",
                fix="add family=ipv4 to the reference",
                certain=True,
            )


def _pitfalls_of_formula(
    name: str,
    places: list[tuple[Formula, _Place, Sequence[str] | None]],
    pillar: Mapping[str, object],
) -> Iterator[Pitfall]:
    where = ", ".join(dict.fromkeys(place.where for _, place, _ in places))
    block = pillar.get(MODULE)
    if any(formula.appends for formula, _, _ in places) and (
        isinstance(block, Mapping) and block.get("prune") is False
    ):
        yield Pitfall(
            where=where,
            what=f"{name} never removes a rule, and {MODULE}:prune is false: removed nodes keep "
            "their access",
            fix="remove `prune: false` from the pillar, or use a set and a gate",
        )
    rule_count = sum(len(addresses or ()) for formula, _, addresses in places if formula.slow)
    if rule_count > _MANY_RULES:
        yield Pitfall(
            where=where,
            what=f"{rule_count} addresses become as many rules, and each rule makes {name} slower: "
            "a run takes minutes",
            fix=f"use one rule with a set of {MODULE}",
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
            what="without ipv6: true, iptables-formula does not filter IPv6 at all",
            fix="set firewall:ipv6 to true, and add services_ipv6",
        )


def _fits(pattern: str, path: tuple[str, ...]) -> bool:
    keys = pattern.split(":")
    return len(keys) == len(path) and all(map(fnmatch, path, keys))


def _places(root: Mapping[str, object]) -> Iterator[_Place]:
    """Yield each text that contains the scheme; items of a list have the path of the list."""
    stack: list[tuple[tuple[str, ...], object, tuple[object, ...], int]] = [((), root, (), 0)]
    seen: set[int] = set()
    while stack:
        path, value, siblings, depth = stack.pop()
        if isinstance(value, str):
            if SCHEME in value:
                yield _Place(path=path, text=value, siblings=siblings)
            continue
        if not isinstance(value, (Mapping, list, tuple)) or depth > _MAX_DEPTH or id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, Mapping):
            for key, item in value.items():
                stack.append(((*path, str(key)), item, (), depth + 1))
                if isinstance(key, str) and SCHEME in key:
                    stack.append((path, key, (), depth + 1))
            continue
        for index, item in enumerate(value):
            nested = isinstance(item, (Mapping, list, tuple))
            item_path = (*path, str(index)) if nested else path
            stack.append((item_path, item, () if nested else tuple(value), depth + 1))
