"""Rules in the module's own table, for hosts without another firewall."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from . import addresses, gates

ANY_SOURCE = "any"
PREFIX = "rule_"
"""The names of sets begin with it that hold the addresses written in a rule itself."""
POLICIES = {"input": "drop", "forward": "accept"}
"""The verdict on packets that no rule matches, where the pillar gives none."""

_CHAINS = tuple(POLICIES)
_ACTIONS = ("accept", "drop", "reject")
KEYS = ("name", "chain", "protocol", "ports", "sources", "action", "log", "comment")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,27}")
# What nft takes between quotes; none of these characters ends the quotes or the line.
_TEXT = re.compile(r"[A-Za-z0-9 ,.:;/()_+-]{1,100}")


@dataclass(frozen=True)
class Rule:
    """One rule; it matches packets from its sets, or from any source."""

    name: str
    chain: str
    protocol: str
    ports: tuple[str, ...]
    sets: tuple[str, ...]
    any_source: bool
    action: str
    log: str
    comment: str

    def to_dict(self) -> dict[str, object]:
        """Return the rule as JSON can hold it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Rule:
        """Read what ``to_dict`` returned."""
        return cls(**{**data, "ports": tuple(data["ports"]), "sets": tuple(data["sets"])})

    def covers(self, protocol: str, port: int) -> bool:
        """Whether the rule is about a port."""
        if self.protocol not in ("", protocol):
            return False
        ranges = [gates.parse_ports(text) for text in self.ports]
        return not ranges or any(one and one[1] <= port <= one[2] for one in ranges)


def parse(
    value: object, sets: Collection[str], problems: list[str]
) -> tuple[tuple[Rule, ...], dict[str, list[object]]]:
    """
    Read the pillar ``k8s_firewall:rules``; mistakes are added to the problems.

    Returns the rules, and the addresses written in each rule itself by the name of the set that
    is to hold them.
    """
    if not isinstance(value, (list, tuple)):
        problems.append("k8s_firewall:rules is not a list of rules")
        return (), {}
    rules: list[Rule] = []
    written: dict[str, list[object]] = {}
    for number, item in enumerate(value, 1):
        name = item.get("name") if isinstance(item, Mapping) else None
        if not isinstance(item, Mapping) or not isinstance(name, str) or not _NAME.fullmatch(name):
            problems.append(
                f"k8s_firewall:rules: rule {number} has no valid name: a letter, then letters, "
                f"digits, _ and -, at most 28 characters"
            )
            continue
        mistakes = list(_mistakes(item))
        if name in {rule.name for rule in rules}:
            mistakes.append("another rule has the same name")
        names, items, any_source = _sources(item.get("sources"), sets, mistakes)
        if mistakes:
            problems.extend(f"k8s_firewall:rules: {name}: {mistake}" for mistake in mistakes)
            continue
        if items:
            names.append(f"{PREFIX}{name}")
            written[f"{PREFIX}{name}"] = items
        log = item.get("log", False)
        rules.append(
            Rule(
                name=name,
                chain=item.get("chain", "input"),
                protocol=item.get("protocol", "tcp" if "ports" in item else ""),
                ports=tuple(str(port) for port in item.get("ports", ())),
                sets=tuple(dict.fromkeys(names)),
                any_source=any_source,
                action=item.get("action", "accept"),
                log=f"{name}: " if log is True else log or "",
                comment=item.get("comment", ""),
            )
        )
    return tuple(rules), written


def parse_policy(value: object, problems: list[str]) -> dict[str, str]:
    """Read the pillar ``k8s_firewall:policy``."""
    if value is None:
        return dict(POLICIES)
    if not isinstance(value, Mapping) or not set(value) <= set(_CHAINS):
        problems.append(f"k8s_firewall:policy is not a mapping of {' and '.join(_CHAINS)}")
        return dict(POLICIES)
    problems.extend(
        f"k8s_firewall:policy:{chain} is {verdict!r}, not accept or drop"
        for chain, verdict in value.items()
        if verdict not in ("accept", "drop")
    )
    return {**POLICIES, **value}


def _mistakes(item: Mapping[object, object]) -> Iterator[str]:
    for key in item:
        if key not in KEYS:
            yield f"unknown key {key}; known keys: {', '.join(KEYS)}"
    for key, allowed in (
        ("chain", _CHAINS),
        ("action", _ACTIONS),
        ("protocol", ("tcp", "udp")),
    ):
        if key in item and item[key] not in allowed:
            yield f"{key} is {item[key]!r}, not one of {', '.join(allowed)}"
    ports = item.get("ports", ["1"])
    if not isinstance(ports, (list, tuple)) or not ports:
        yield "ports is not a list of ports"
    else:
        for port in ports:
            parsed = gates.parse_ports(port)
            if parsed is None or parsed[0]:
                yield f"ports: {port!r} is not a port; examples: 5432, 6000-6010"
    for key in ("log", "comment"):
        text = item.get(key)
        if text not in (None, True, False) and not (
            isinstance(text, str) and _TEXT.fullmatch(text)
        ):
            yield f"{key} has characters other than letters, digits, spaces and , . : ; / ( ) _ + -"
    if item.get("comment") is True:
        yield "comment is not a text"


def _sources(
    value: object, sets: Collection[str], mistakes: list[str]
) -> tuple[list[str], list[object], bool]:
    if value == ANY_SOURCE:
        return [], [], True
    if not isinstance(value, (list, tuple)):
        mistakes.append(f"sources is neither a list nor {ANY_SOURCE} (every source)")
        return [], [], False
    names: list[str] = []
    items: list[object] = []
    for source in value:
        if isinstance(source, str) and source in sets:
            names.append(source)
            continue
        items.append(source)
        if not addresses.find_references(source):
            try:
                addresses.parse([source])
            except addresses.InvalidAddress as exc:
                known = ", ".join(sorted(sets)) or "none"
                mistakes.append(f"sources: {exc}, nor the name of a set; known sets: {known}")
    return names, items, False
