"""Finds the references in a pillar of any size and shape, in linear time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from salt_ext.core.references.reference import SCHEME, is_reference

# The most frequent types in a pillar, none of which can be a reference.
_SCALARS = frozenset([int, float, bool, bytes, type(None)])


def may_contain(root: object) -> bool:
    """Whether a value may contain a reference; false positives are possible, no false negatives."""
    # Written for speed: this is the whole cost of a pillar without references. Each container is
    # visited once.
    seen: set[int] = set()
    stack: list[Any] = [root]
    while stack:
        value = stack.pop()
        if isinstance(value, dict):
            for item in value:
                if isinstance(item, str):
                    if SCHEME in item:
                        return True
                elif isinstance(item, tuple):
                    stack.append(item)
            value = value.values()
        elif isinstance(value, str):
            if SCHEME in value:
                return True
            continue
        elif not isinstance(value, (list, tuple)):
            continue
        for item in value:
            kind = type(item)
            if kind is str:
                if SCHEME in item:
                    return True
            elif kind not in _SCALARS and id(item) not in seen:
                seen.add(id(item))
                stack.append(item)
    return False


def find_references(root: object) -> Iterator[str]:
    """Yield all references in a value; visits each container once, without recursion."""
    seen: set[int] = set()
    stack = [root]
    while stack:
        value = stack.pop()
        if is_reference(value):
            yield value
        elif isinstance(value, (dict, list, tuple)) and id(value) not in seen:
            seen.add(id(value))
            stack.extend(value)
            if isinstance(value, dict):
                stack.extend(value.values())
