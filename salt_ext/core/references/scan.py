"""Find the references in a pillar of any size and shape, in time proportional to its size."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from salt_ext.core.references.reference import NEAR_MISS_STARTS, SCHEME, is_near_miss, is_reference

# Most values of a pillar have one of these types; none of them can be a reference.
_ATOMS = frozenset([int, float, bool, bytes, type(None)])


@dataclass(frozen=True, slots=True)
class Scan:
    """The references of one pillar, and the part of it that has them."""

    entries: Mapping[Any, Any] = field(default_factory=dict)
    """The top-level entries that may contain a reference."""
    texts: tuple[str, ...] = ()
    """Every reference below them, once."""
    near_misses: tuple[str, ...] = ()
    """Texts that look like a misspelt reference: they are never resolved."""


def scan(pillar: Mapping[Any, Any]) -> Scan:
    """Return the references of a pillar; nothing below its top level is copied."""
    if not may_contain(pillar):
        return Scan()
    entries = {
        key: value
        for key, value in list(pillar.items())
        if is_reference(key) or is_near_miss(key) or may_contain(value)
    }
    texts = [
        *(key for key in entries if isinstance(key, str)),
        *_texts([*entries.values()]),
    ]
    return Scan(
        entries,
        tuple(dict.fromkeys(filter(is_reference, texts))),
        tuple(dict.fromkeys(filter(is_near_miss, texts))),
    )


def may_contain(root: Any) -> bool:
    """Return whether a value may contain a reference, or a misspelt one; in doubt True."""
    # A pillar without a reference costs this pass and nothing else, so it is written for speed.
    # Each container is visited once.
    seen: set[int] = set()
    stack = [root]
    while stack:
        value = stack.pop()
        if isinstance(value, dict):
            for item in value:
                if isinstance(item, str):
                    if "/" in item and _is_candidate(item):
                        return True
                elif isinstance(item, tuple):
                    stack.append(item)
            value = value.values()
        elif isinstance(value, str):
            if _is_candidate(value):
                return True
            continue
        elif not isinstance(value, (list, tuple)):
            continue
        for item in value:
            kind = type(item)
            if kind is str:
                if "/" in item and _is_candidate(item):
                    return True
            elif kind not in _ATOMS and id(item) not in seen:
                seen.add(id(item))
                stack.append(item)
    return False


def _is_candidate(text: str) -> bool:
    # Most texts with a slash are paths and URLs: their first character tells.
    return SCHEME in text or (text[:1] in NEAR_MISS_STARTS and is_near_miss(text))


def find_references(root: Any) -> Iterator[str]:
    """Yield every reference below a value, without recursion; each container is visited once."""
    return filter(is_reference, _texts(root))


def _texts(root: Any) -> Iterator[str]:
    seen: set[int] = set()
    stack = [root]
    while stack:
        value = stack.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, (dict, list, tuple)) and id(value) not in seen:
            seen.add(id(value))
            stack.extend(value)
            if isinstance(value, dict):
                stack.extend(value.values())
