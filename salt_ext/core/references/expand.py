"""
Replace references by addresses, anywhere in a pillar.

Pure: the addresses come in as a mapping. Nothing of the pillar is altered. Changed containers are
built anew from the top-level key down, because nested objects may be another ext_pillar's memory.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from salt_ext.core.references.reference import is_reference
from salt_ext.core.references.resolution import Resolutions, Unresolved
from salt_ext.core.references.scan import find_references, may_contain

ADDRESS_FIELD = "{address}"
"""Replaced by the address in the other texts of a repeated rule."""

MAX_DEPTH = 100
"""Deeper than pillars that people write, far below Python's own recursion limit."""

_SINGLE_VALUE = "is in a place that takes one value only; put it into a list"
_NOT_A_RULE = (
    "is a value in a mapping whose siblings are not rules, so it cannot be repeated per address; "
    "put it into a list"
)
_NOT_LOOKED_UP = Unresolved("was not looked up")

# Under these keys a rule says whose packets it matches, as in `source: {address: k8s://prod}`.
# They belong to the rule: taken for the id of a rule, the rest of it would match every source.
_PARTS = frozenset(["source", "destination", "src", "dst", "saddr", "daddr", "from", "to"])


@dataclass(frozen=True, slots=True)
class Expansion:
    """The result for one pillar."""

    changed: Mapping[Any, Any] = field(default_factory=dict)
    """New values of the top-level keys that had a reference."""
    served: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Reference text to the addresses that replaced it."""
    unresolved: Mapping[str, str] = field(default_factory=dict)
    """Reference text to the reason that it stays."""


def expand(pillar: Mapping[Any, Any], resolutions: Resolutions) -> Expansion:
    """
    Return what changes in a pillar when its references become addresses.

    ``pillar`` is a whole one, or the entries that :func:`scan` found in it.
    """
    walk = _Walk(resolutions)
    changed: dict[Any, Any] = {}
    for key, value in pillar.items():
        if is_reference(key):
            walk.refuse(key, "is a top-level key of the pillar")
        if is_reference(value):
            walk.refuse(value, _SINGLE_VALUE)
            continue
        new = walk.value(value, depth=1)
        if new is not value:
            changed[key] = new
        if may_contain(new):
            for text in find_references(new):
                walk.refuse(text, _SINGLE_VALUE)
    return Expansion(changed, walk.served, walk.unresolved)


class _Walk:
    """One pass over one pillar; a container that is shared is rebuilt once."""

    def __init__(self, resolutions: Resolutions) -> None:
        self.served: dict[str, tuple[str, ...]] = {}
        self.unresolved: dict[str, str] = {}
        self._resolutions = resolutions
        self._open: set[int] = set()
        """Containers around the current value: one inside itself is not entered again."""
        self._rebuilt: dict[int, Any] = {}

    def refuse(self, text: str, why: str) -> None:
        self.unresolved.setdefault(text, why)

    def value(self, value: Any, *, depth: int) -> Any:
        """Return a value with everything below it expanded; the same object when nothing was."""
        if not isinstance(value, (dict, list, tuple)):
            return value
        if id(value) in self._rebuilt:
            return self._rebuilt[id(value)]
        if id(value) in self._open:
            return value
        if depth > MAX_DEPTH:
            for text in find_references(value):
                self.refuse(text, f"is nested deeper than {MAX_DEPTH}")
            return value
        self._open.add(id(value))
        new: Any
        if isinstance(value, dict):
            new = self._mapping(value, depth)
        else:
            new = self._sequence(value, depth)
        self._rebuilt[id(value)] = new
        self._open.discard(id(value))
        return new

    def _sequence(self, value: Sequence[Any], depth: int) -> Any:
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
        return _same_type(value, entries)

    def _is_rule(self, key: Any, item: Any, siblings: dict[Any, Any]) -> bool:
        """Return whether an entry may become several, with ids made from its own."""
        if not isinstance(key, str) or is_reference(key) or key in _PARTS:
            return False
        texts = _references_of(item) if isinstance(item, dict) else set()
        if texts and not all(rule is None or isinstance(rule, dict) for rule in siblings.values()):
            for text in texts:
                self.refuse(text, _NOT_A_RULE)
            return False
        return bool(texts)

    def _copies(self, rule: Any) -> dict[str, dict[Any, Any]] | None:
        """Return a rule with a reference in it once per address; None for any other value."""
        if not isinstance(rule, dict):
            return None
        texts = _references_of(rule)
        if len(texts) > 1:
            for text in texts:
                self.refuse(text, "is in one mapping with another reference")
            return None
        for text in texts:
            addresses = self._addresses(text)
            if addresses is not None:
                return {address: _filled(rule, text, address) for address in addresses}
        return None

    def _addresses(self, text: str) -> tuple[str, ...] | None:
        resolution = self._resolutions.get(text, _NOT_LOOKED_UP)
        if isinstance(resolution, Unresolved):
            # It says more than a wrong place of the same text elsewhere.
            self.unresolved[text] = resolution.why
            return None
        self.served[text] = resolution.addresses
        return resolution.addresses


def _references_of(rule: dict[Any, Any]) -> set[str]:
    """Return the references that are values of a rule, or of a part of it."""
    texts = {item for item in rule.values() if is_reference(item)}
    for key, item in rule.items():
        if isinstance(item, dict) and isinstance(key, str) and key in _PARTS:
            texts |= {value for value in item.values() if is_reference(value)}
    return texts


def _filled(rule: dict[Any, Any], text: str, address: str) -> dict[Any, Any]:
    new = _replaced(rule, text, address)
    for key, item in rule.items():
        if isinstance(item, dict) and isinstance(key, str) and key in _PARTS:
            new[key] = _same_type(item, _replaced(item, text, address))
    return _same_type(rule, new)


def _replaced(mapping: dict[Any, Any], text: str, address: str) -> dict[Any, Any]:
    new = dict(mapping)
    for key, item in mapping.items():
        if isinstance(item, str):
            new[key] = address if item == text else item.replace(ADDRESS_FIELD, address)
    return new


def _same_type(value: dict[Any, Any], entries: dict[Any, Any]) -> dict[Any, Any]:
    """Return entries as the mapping type of ``value``, with the attributes of that object."""
    if type(value) is dict:
        return entries
    try:
        made = copy.copy(value)
        made.clear()
        made.update(entries)
    except Exception:  # noqa: BLE001  a type that cannot be copied or written
        return entries
    return made


def _same(first: Any, second: Any) -> bool:
    return first is second
