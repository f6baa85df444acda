"""Rules of our own, for hosts without another firewall."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from . import addresses, gates

ANYONE = "any"
PREFIX = "rule_"
"""How the names of the sets begin that hold the addresses which a rule has in itself."""
POLICIES = {"input": "drop", "forward": "accept"}
"""What becomes of packets that no rule decides on, where the pillar does not say."""

_CHAINS = tuple(POLICIES)
_ACTIONS = ("accept", "drop", "reject")
KEYS = ("name", "chain", "protocol", "ports", "sources", "action", "log", "comment")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,27}")
# What nft takes between quotes; nothing of it ends the quotes or the line.
_TEXT = re.compile(r"[A-Za-z0-9 ,.:;/()_+-]{1,100}")


@dataclass(frozen=True)
class Rule:
    """One rule; it holds for the members of its sets, or for anyone."""

    name: str
    chain: str
    protocol: str
    ports: tuple[str, ...]
    sets: tuple[str, ...]
    anyone: bool
    action: str
    log: str
    comment: str

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> Rule:
        """Read what to_dict has given."""
        return cls(**{**told, "ports": tuple(told["ports"]), "sets": tuple(told["sets"])})

    def covers(self, protocol: str, port: int) -> bool:
        """Whether it speaks of a port."""
        if self.protocol not in ("", protocol):
            return False
        read = [gates.ports(one) for one in self.ports]
        return not read or any(one and one[1] <= port <= one[2] for one in read)


def read(
    told: object, sets: Collection[str], problems: list[str]
) -> tuple[tuple[Rule, ...], dict[str, list[object]]]:
    """Read the pillar k8s_firewall:rules: the rules, and what each has for addresses in itself."""
    if not isinstance(told, (list, tuple)):
        problems.append("k8s_firewall:rules is not a list of rules")
        return (), {}
    found: list[Rule] = []
    inline: dict[str, list[object]] = {}
    for number, one in enumerate(told, 1):
        name = one.get("name") if isinstance(one, Mapping) else None
        if not isinstance(one, Mapping) or not isinstance(name, str) or not _NAME.fullmatch(name):
            problems.append(
                f"k8s_firewall:rules: rule {number} has no name: a letter, then letters, digits, "
                f"_ and -, 28 at most"
            )
            continue
        wrong = list(_mistakes(one))
        if name in {rule.name for rule in found}:
            wrong.append("there is another one of this name")
        names, items, anyone = _sources(one.get("sources"), sets, wrong)
        if wrong:
            problems.extend(f"k8s_firewall:rules: {name}: {what}" for what in wrong)
            continue
        if items:
            names.append(f"{PREFIX}{name}")
            inline[f"{PREFIX}{name}"] = items
        log = one.get("log", False)
        found.append(
            Rule(
                name=name,
                chain=one.get("chain", "input"),
                protocol=one.get("protocol", "tcp" if "ports" in one else ""),
                ports=tuple(str(port) for port in one.get("ports", ())),
                sets=tuple(dict.fromkeys(names)),
                anyone=anyone,
                action=one.get("action", "accept"),
                log=f"{name}: " if log is True else log or "",
                comment=one.get("comment", ""),
            )
        )
    return tuple(found), inline


def read_policy(told: object, problems: list[str]) -> dict[str, str]:
    """Read the pillar k8s_firewall:policy."""
    if told is None:
        return dict(POLICIES)
    if not isinstance(told, Mapping) or not set(told) <= set(_CHAINS):
        problems.append(f"k8s_firewall:policy is no mapping of {' and '.join(_CHAINS)}")
        return dict(POLICIES)
    problems.extend(
        f"k8s_firewall:policy:{chain} is {what!r}, not accept or drop"
        for chain, what in told.items()
        if what not in ("accept", "drop")
    )
    return {**POLICIES, **told}


def _mistakes(one: Mapping[Any, Any]) -> Iterator[str]:
    for key in one:
        if key not in KEYS:
            yield f"{key} is no key of a rule, which has {', '.join(KEYS)}"
    for key, allowed in (
        ("chain", _CHAINS),
        ("action", _ACTIONS),
        ("protocol", ("tcp", "udp")),
    ):
        if key in one and one[key] not in allowed:
            yield f"{key} is {one[key]!r}, not one of {', '.join(allowed)}"
    listed = one.get("ports", ["1"])
    if not isinstance(listed, (list, tuple)) or not listed:
        yield "ports is not a list of ports"
    else:
        for port in listed:
            meant = gates.ports(port)
            if meant is None or meant[0]:
                yield f"ports has {port!r}, which is no port such as 5432 or 6000-6010"
    for key in ("log", "comment"):
        text = one.get(key)
        if text not in (None, True, False) and not (
            isinstance(text, str) and _TEXT.fullmatch(text)
        ):
            yield f"{key} has characters other than letters, digits, spaces and , . : ; / ( ) _ + -"
    if one.get("comment") is True:
        yield "comment is no text"


def _sources(
    told: object, sets: Collection[str], wrong: list[str]
) -> tuple[list[str], list[object], bool]:
    if told == ANYONE:
        return [], [], True
    if not isinstance(told, (list, tuple)):
        wrong.append(f"sources is not a list, and not {ANYONE}, which is everyone")
        return [], [], False
    names: list[str] = []
    items: list[object] = []
    for one in told:
        if isinstance(one, str) and one in sets:
            names.append(one)
            continue
        items.append(one)
        if not addresses.references(one):
            try:
                addresses.content([one])
            except addresses.NoAddress as exc:
                known = ", ".join(sorted(sets)) or "none"
                wrong.append(f"sources: {exc}, and no set: k8s_firewall:sets has {known}")
    return names, items, False
