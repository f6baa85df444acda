"""Finds the references in a pillar of any size and shape, in time that is in proportion to it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from salt_ext.core.references.reference import SCHEME, is_reference

# What most of a pillar is made of, and no reference can be.
_ATOMS = frozenset([int, float, bool, bytes, type(None)])


def may_contain(root: Any) -> bool:
    """Whether there may be a reference below; in doubt there is."""
    # This is all that a pillar without a reference costs: it is written for speed. Each container
    # is looked at once.
    seen: set[int] = set()
    stack = [root]
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
            elif kind not in _ATOMS and id(item) not in seen:
                seen.add(id(item))
                stack.append(item)
    return False


def find_references(root: Any) -> Iterator[str]:
    """Yield the references anywhere below, each container looked at once, without recursion."""
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
