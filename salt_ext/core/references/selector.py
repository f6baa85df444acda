"""Kubernetes label selectors, equality and set based, evaluated locally, not on the server."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from salt_ext.core.display import quote

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
    """One part of a selector: a label's value must be, or must not be, one of ``values``."""

    key: str
    values: frozenset[str] | None
    """None means any value: the label must, or must not, exist."""
    positive: bool

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether the labels meet this requirement; ``!=`` and ``notin`` match an absent key."""
        value = labels.get(self.key)
        if self.values is None:
            return (value is not None) is self.positive
        return (value is not None and value in self.values) is self.positive


@dataclass(frozen=True, slots=True)
class Selector:
    """Requirements, all of which must be met; an empty selector selects every node."""

    requirements: tuple[Requirement, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether the labels meet every requirement."""
        return all(requirement.matches(labels) for requirement in self.requirements)

    @property
    def keys(self) -> tuple[str, ...]:
        """The label keys of the requirements."""
        return tuple(requirement.key for requirement in self.requirements)


def parse(text: str) -> Selector:
    """Return a parsed selector; :class:`ValueError` names the invalid part."""
    return Selector(tuple(_requirement(part.strip()) for part in _split(text)))


def _split(text: str) -> list[str]:
    """Split at the commas outside of parentheses."""
    if not text.strip():
        return []
    # Not a regular expression: look-ahead takes minutes on a text that a hostile minion chooses.
    cuts, inside = [-1], False
    for index, char in enumerate(text):
        if char in "()":
            inside = char == "("
        elif char == "," and not inside:
            cuts.append(index)
    return [text[before + 1 : after] for before, after in pairwise([*cuts, len(text)])]


def _requirement(part: str) -> Requirement:
    if match := _SET.match(part):
        key, operator, items = match.groups()
        values = [value.strip() for value in items.split(",")]
        if all(_WHOLE_VALUE.match(value) for value in values):
            return Requirement(key, frozenset(values), operator == "in")
    elif match := _EQUALITY.match(part):
        key, operator, value = match.groups()
        return Requirement(key, frozenset([value]), operator != "!=")
    elif match := _EXISTS.match(part):
        negated, key = match.groups()
        return Requirement(key, None, not negated)
    raise ValueError(
        f"{quote(part)} is not a label selector; allowed: key=value, key!=value, key in (a,b), "
        "key notin (a,b), key, !key"
    )
