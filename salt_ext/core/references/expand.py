"""
Replaces references by addresses, anywhere in a pillar.

The given pillar is never modified: changed containers are copied, from the top-level key down,
because nested objects may be another ext_pillar's cache.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from salt_ext.core.references.reference import is_reference
from salt_ext.core.references.scan import find_references, may_contain

PLACEHOLDER = "{address}"

# Deeper than any pillar written by hand, far below Python's recursion limit.
MAX_DEPTH = 100


@dataclass(frozen=True, slots=True)
class Unresolved:
    """Why a reference is left unchanged."""

    why: str


_SINGLE_VALUE = "is in a place for a single value; put it into a list"
_NOT_A_RULE = (
    "is a value in a mapping whose siblings are not rules, so it cannot be repeated per address; "
    "put it into a list"
)

# A rule names its peers below these keys, as in `source: {address: k8s://prod}`. They belong to
# the rule: repeated as rules of their own, they would leave a rule that matches any packet.
_RULE_PARTS = frozenset(["source", "destination", "src", "dst", "saddr", "daddr", "from", "to"])

Resolve = Callable[[str], Sequence[str] | Unresolved]


@dataclass(slots=True)
class Expansion:
    """The result of expanding one pillar."""

    changed: dict[Any, Any] = field(default_factory=dict)
    """New values of the top-level keys that contain a reference."""
    resolved: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Addresses by reference text."""
    unresolved: dict[str, str] = field(default_factory=dict)
    """Reasons by reference text."""


def expand(pillar: Mapping[Any, Any], resolve: Resolve) -> Expansion:
    """
    Return the changes that turn the references of a pillar into addresses.

    ``resolve`` returns the addresses of a reference, or why there are none; it is called once for
    each text.
    """
    walk = _Walk(resolve)
    if not may_contain(pillar):
        return walk.result
    for key, value in list(pillar.items()):
        if is_reference(key):
            walk.reject(key, "is a top-level key of the pillar")
        if is_reference(value):
            walk.reject(value, _SINGLE_VALUE)
        elif may_contain(value):
            expanded = walk.value(value, depth=1)
            if expanded is not value:
                walk.result.changed[key] = expanded
            if may_contain(expanded):
                for text in find_references(expanded):
                    walk.reject(text, _SINGLE_VALUE)
    return walk.result


class _Walk:
    """One pass over one pillar; a shared container is rebuilt once."""

    def __init__(self, resolve: Resolve) -> None:
        self.result = Expansion()
        self._resolve = resolve
        self._unresolvable: set[str] = set()
        self._in_progress: set[int] = set()
        self._expanded: dict[int, Any] = {}

    def reject(self, text: str, why: str) -> None:
        self.result.unresolved.setdefault(text, why)

    def value(self, value: Any, *, depth: int) -> Any:
        """Return a value with its references expanded; the same object when it has none."""
        if not isinstance(value, (dict, list, tuple)):
            return value
        if id(value) in self._expanded:
            return self._expanded[id(value)]
        if id(value) in self._in_progress:
            return value
        if depth > MAX_DEPTH:
            for text in find_references(value):
                self.reject(text, f"is nested deeper than {MAX_DEPTH}")
            return value
        self._in_progress.add(id(value))
        expanded: Any
        if isinstance(value, dict):
            expanded = self._mapping(value, depth)
        else:
            expanded = self._sequence(value, depth)
        self._expanded[id(value)] = expanded
        self._in_progress.discard(id(value))
        return expanded

    def _sequence(self, value: Sequence[Any], depth: int) -> Sequence[Any]:
        static = {item for item in value if isinstance(item, str)}
        items: list[Any] = []
        for item in value:
            addresses = self._addresses(item) if is_reference(item) else None
            if addresses is not None:
                items.extend(text for text in addresses if text not in static)
                static.update(addresses)
                continue
            new = self.value(item, depth=depth + 1)
            copies = self._copies(new)
            items.extend([new] if copies is None else copies.values())
        if len(items) == len(value) and all(map(_same, items, value)):
            return value
        return tuple(items) if isinstance(value, tuple) else items

    def _mapping(self, value: dict[Any, Any], depth: int) -> dict[Any, Any]:
        entries: dict[Any, Any] = {}
        for key, item in value.items():
            addresses = self._addresses(key) if is_reference(key) else None
            new = self.value(item, depth=depth + 1)
            if addresses is not None:
                entries.update((text, new) for text in addresses if text not in value)
                continue
            copies = self._copies(new) if self._is_rule(key, new, value) else None
            if copies is None:
                entries[key] = new
            else:
                rules = ((f"{key}-{address}", rule) for address, rule in copies.items())
                entries.update((name, rule) for name, rule in rules if name not in value)
        if list(entries) == list(value) and all(map(_same, entries.values(), value.values())):
            return value
        return _with_type_of(value, entries)

    def _is_rule(self, key: object, item: object, mapping: dict[Any, Any]) -> bool:
        """Whether an entry of a mapping may be repeated, with ids derived from its own."""
        if not isinstance(key, str) or is_reference(key) or key in _RULE_PARTS:
            return False
        texts = _texts(item) if isinstance(item, dict) else set()
        if texts and not all(
            sibling is None or isinstance(sibling, dict) for sibling in mapping.values()
        ):
            for text in texts:
                self.reject(text, _NOT_A_RULE)
            return False
        return bool(texts)

    def _copies(self, mapping: object) -> dict[str, dict[Any, Any]] | None:
        """Return one copy of a rule per address; None when it is not a rule with a reference."""
        if not isinstance(mapping, dict):
            return None
        texts = _texts(mapping)
        if len(texts) > 1:
            for text in texts:
                self.reject(text, "is in one mapping with another reference")
            return None
        for text in texts:
            addresses = self._addresses(text)
            if addresses is not None:
                return {address: _filled(mapping, text, address) for address in addresses}
        return None

    def _addresses(self, text: str) -> tuple[str, ...] | None:
        # `unresolved` may have the same text because of another, unsuitable place.
        if text not in self.result.resolved and text not in self._unresolvable:
            answer = self._resolve(text)
            if isinstance(answer, Unresolved):
                self._unresolvable.add(text)
                self.result.unresolved[text] = answer.why
            else:
                self.result.resolved[text] = tuple(answer)
        return self.result.resolved.get(text)


def _texts(rule: dict[Any, Any]) -> set[str]:
    """Return the references that are values of a rule, or of one of its parts."""
    texts = {item for item in rule.values() if is_reference(item)}
    for key, part in rule.items():
        if isinstance(part, dict) and isinstance(key, str) and key in _RULE_PARTS:
            texts |= {item for item in part.values() if is_reference(item)}
    return texts


def _filled(rule: dict[Any, Any], text: str, address: str) -> dict[Any, Any]:
    new = _replaced(rule, text, address)
    for key, item in rule.items():
        if isinstance(item, dict) and isinstance(key, str) and key in _RULE_PARTS:
            new[key] = _with_type_of(item, _replaced(item, text, address))
    return _with_type_of(rule, new)


def _replaced(mapping: dict[Any, Any], text: str, address: str) -> dict[Any, Any]:
    new = dict(mapping)
    for key, item in mapping.items():
        if isinstance(item, str):
            new[key] = address if item == text else item.replace(PLACEHOLDER, address)
    return new


def _with_type_of(value: dict[Any, Any], entries: dict[Any, Any]) -> dict[Any, Any]:
    """Return a mapping of the same type as ``value``, a subclass of dict with its attributes."""
    if type(value) is dict:
        return entries
    try:
        mapping = copy.copy(value)
        mapping.clear()
        mapping.update(entries)
    except Exception:  # noqa: BLE001  a subclass that cannot be copied or written
        return entries
    return mapping


def _same(first: object, second: object) -> bool:
    return first is second
