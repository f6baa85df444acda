"""
Puts addresses in the place of references, anywhere in a pillar.

Nothing that was handed in is altered: what changes is built anew, from the top-level key down,
because nested objects may be another ext_pillar's memory.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from salt_ext.core.references.reference import is_reference
from salt_ext.core.references.scan import find_references, may_contain

PLACEHOLDER = "{address}"

# Deeper than any pillar that a person wrote, far from Python's own recursion limit.
DEEPEST = 100


@dataclass(frozen=True, slots=True)
class Unresolved:
    """Why a reference stays as it is."""

    why: str


_NO_PLACE = "stands where only one value can; put it into a list"
_NO_RULE = (
    "stands in a mapping that is no rule among rules, because there are other values beside it; "
    "put it into a list"
)

# Below these a rule tells whose packets it means, as in `source: {address: k8s://prod}`. They
# belong to the rule: were one taken for the id of a rule, what is left would match everybody.
_PARTS = frozenset(["source", "destination", "src", "dst", "saddr", "daddr", "from", "to"])

Resolve = Callable[[str], Sequence[str] | Unresolved]


@dataclass(slots=True)
class Expansion:
    """What came of one pillar."""

    changed: dict[Any, Any] = field(default_factory=dict)
    """New values of the top-level keys that held a reference."""
    served: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Reference text to the addresses that took its place."""
    unresolved: dict[str, str] = field(default_factory=dict)
    """Reference text to the reason that it stays."""


def expand(pillar: Mapping[Any, Any], resolve: Resolve) -> Expansion:
    """Return what has to change in a pillar so that its references become addresses."""
    walk = _Walk(resolve)
    if not may_contain(pillar):
        return walk.result
    for key, value in list(pillar.items()):
        if is_reference(key):
            walk.refuse(key, "is a top-level key of the pillar")
        if is_reference(value):
            walk.refuse(value, _NO_PLACE)
        elif may_contain(value):
            new = walk.value(value, depth=1)
            if new is not value:
                walk.result.changed[key] = new
            if may_contain(new):
                for text in find_references(new):
                    walk.refuse(text, _NO_PLACE)
    return walk.result


class _Walk:
    """One pass over one pillar; a container that is shared is rebuilt once."""

    def __init__(self, resolve: Resolve) -> None:
        self.result = Expansion()
        self._resolve = resolve
        self._refused: set[str] = set()
        self._open: set[int] = set()
        self._done: dict[int, Any] = {}

    def refuse(self, text: str, why: str) -> None:
        self.result.unresolved.setdefault(text, why)

    def value(self, value: Any, *, depth: int) -> Any:
        """Return a value with everything below it expanded: itself when nothing was."""
        if not isinstance(value, (dict, list, tuple)):
            return value
        if id(value) in self._done:
            return self._done[id(value)]
        if id(value) in self._open:
            return value
        if depth > DEEPEST:
            for text in find_references(value):
                self.refuse(text, f"is nested deeper than {DEEPEST}")
            return value
        self._open.add(id(value))
        new: Any
        if isinstance(value, dict):
            new = self._mapping(value, depth)
        else:
            new = self._sequence(value, depth)
        self._done[id(value)] = new
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
                made = ((f"{key}-{address}", one) for address, one in copies.items())
                entries.update((name, one) for name, one in made if name not in value)
        if list(entries) == list(value) and all(map(_same, entries.values(), value.values())):
            return value
        return _of_the_same_kind(value, entries)

    def _is_rule(self, key: Any, item: Any, mapping: dict[Any, Any]) -> bool:
        """Whether an entry of a mapping may become several, with ids made from its own."""
        if not isinstance(key, str) or is_reference(key) or key in _PARTS:
            return False
        texts = _texts(item) if isinstance(item, dict) else set()
        if texts and not all(one is None or isinstance(one, dict) for one in mapping.values()):
            for text in texts:
                self.refuse(text, _NO_RULE)
            return False
        return bool(texts)

    def _copies(self, mapping: Any) -> dict[str, dict[Any, Any]] | None:
        """Return a mapping once per address when it is a rule with a reference in it, else None."""
        if not isinstance(mapping, dict):
            return None
        texts = _texts(mapping)
        if len(texts) > 1:
            for text in texts:
                self.refuse(text, "stands in one mapping with another reference")
            return None
        for text in texts:
            addresses = self._addresses(text)
            if addresses is not None:
                return {address: _filled(mapping, text, address) for address in addresses}
        return None

    def _addresses(self, text: str) -> tuple[str, ...] | None:
        # One that stands in a wrong place elsewhere is in `unresolved` too, and is resolved here.
        if text not in self.result.served and text not in self._refused:
            found = self._resolve(text)
            if isinstance(found, Unresolved):
                self._refused.add(text)
                self.result.unresolved[text] = found.why
            else:
                self.result.served[text] = tuple(found)
        return self.result.served.get(text)


def _texts(rule: dict[Any, Any]) -> set[str]:
    """Return the references that are values of a rule, or of a part of it."""
    found = {item for item in rule.values() if is_reference(item)}
    for key, item in rule.items():
        if isinstance(item, dict) and isinstance(key, str) and key in _PARTS:
            found |= {one for one in item.values() if is_reference(one)}
    return found


def _filled(rule: dict[Any, Any], text: str, address: str) -> dict[Any, Any]:
    new = _replaced(rule, text, address)
    for key, item in rule.items():
        if isinstance(item, dict) and isinstance(key, str) and key in _PARTS:
            new[key] = _of_the_same_kind(item, _replaced(item, text, address))
    return _of_the_same_kind(rule, new)


def _replaced(mapping: dict[Any, Any], text: str, address: str) -> dict[Any, Any]:
    new = dict(mapping)
    for key, item in mapping.items():
        if isinstance(item, str):
            new[key] = address if item == text else item.replace(PLACEHOLDER, address)
    return new


def _of_the_same_kind(value: dict[Any, Any], entries: dict[Any, Any]) -> dict[Any, Any]:
    """Return a mapping with the type, and with it the attributes, of somebody's own kind."""
    if type(value) is dict:
        return entries
    try:
        made = copy.copy(value)
        made.clear()
        made.update(entries)
    except Exception:  # noqa: BLE001  a kind that does not let itself be copied or written
        return entries
    return made


def _same(one: Any, other: Any) -> bool:
    return one is other
