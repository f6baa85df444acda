"""Kubernetes label selectors, equality and set based, evaluated here and not on the server."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from salt_ext.core.errors import shown

_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?"
_KEY = rf"(?:[a-z0-9](?:[a-z0-9.-]{{0,251}}[a-z0-9])?/)?{_NAME}"
_VALUE = rf"(?:{_NAME})?"

_SET = re.compile(rf"^({_KEY})\s+(in|notin)\s*\(([^()]*)\)$")
_EQUALITY = re.compile(rf"^({_KEY})\s*(==|!=|=)\s*({_VALUE})$")
_EXISTS = re.compile(rf"^(!?)\s*({_KEY})$")
KEY = re.compile(_KEY)
_WHOLE_VALUE = re.compile(rf"^{_VALUE}$")


@dataclass(frozen=True, slots=True)
class Requirement:
    """One part of a selector: the label's value must (or must not) be one of ``values``."""

    key: str
    values: frozenset[str] | None
    """None means any value: the label only has to exist."""
    wanted: bool

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether the labels meet this requirement; ``!=`` and ``notin`` hold for an absent key."""
        value = labels.get(self.key)
        if self.values is None:
            return (value is not None) is self.wanted
        return (value is not None and value in self.values) is self.wanted


@dataclass(frozen=True, slots=True)
class Selector:
    """Requirements that must all hold; none at all selects every node."""

    requirements: tuple[Requirement, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether the labels meet every requirement."""
        return all(requirement.matches(labels) for requirement in self.requirements)

    @property
    def keys(self) -> tuple[str, ...]:
        """The label keys that decide."""
        return tuple(requirement.key for requirement in self.requirements)


def parse(text: str) -> Selector:
    """Read a selector; :class:`ValueError` names the part that cannot be read."""
    return Selector(tuple(_requirement(part.strip()) for part in _split(text)))


def _split(text: str) -> list[str]:
    """Cut at the commas that stand outside of parentheses."""
    if not text.strip():
        return []
    # Not a pattern: one that looks ahead takes minutes for a text that a minion makes up.
    cuts, inside = [-1], False
    for at, sign in enumerate(text):
        if sign in "()":
            inside = sign == "("
        elif sign == "," and not inside:
            cuts.append(at)
    return [text[before + 1 : after] for before, after in pairwise([*cuts, len(text)])]


def _requirement(part: str) -> Requirement:
    if match := _SET.match(part):
        key, operator, listed = match.groups()
        values = [value.strip() for value in listed.split(",")]
        if all(_WHOLE_VALUE.match(value) for value in values):
            return Requirement(key, frozenset(values), operator == "in")
    elif match := _EQUALITY.match(part):
        key, operator, value = match.groups()
        return Requirement(key, frozenset([value]), operator != "!=")
    elif match := _EXISTS.match(part):
        negated, key = match.groups()
        return Requirement(key, None, not negated)
    raise ValueError(
        f"{shown(part)} is no label selector; allowed: key=value, key!=value, key in (a,b), "
        "key notin (a,b), key, !key"
    )
