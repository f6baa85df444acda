"""Compares JSON with the types of ``core/answers.py``, and lists their keys for the docs."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator
from typing import Any, Union, get_args, get_origin, get_type_hints

_NAMES = {str: "text", int: "number", float: "number", bool: "boolean", type(None): "null"}


def union(kind: Any) -> tuple[Any, ...]:
    """Return the members of a union, or the type itself."""
    return get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)


def mismatches(value: object, kind: Any, path: str = "") -> Iterator[str]:
    """Yield the path of each value that is not of its type, missing, or unknown."""
    found = [list(_mismatches(value, member, path)) for member in union(kind)]
    # Of several alternatives the closest one tells most.
    yield from min(found, key=len)


def _mismatches(value: object, kind: Any, path: str) -> Iterator[str]:
    if typing.is_typeddict(kind):
        if not isinstance(value, dict):
            yield f"{path}: {value!r} is not an object"
            return
        hints = get_type_hints(kind)
        for key in sorted(kind.__required_keys__ - value.keys()):
            yield f"{path}:{key} is missing"
        for key in sorted(value.keys() - hints.keys()):
            yield f"{path}:{key} is unknown"
        for key in value.keys() & hints.keys():
            yield from mismatches(value[key], hints[key], f"{path}:{key}")
    elif get_origin(kind) is dict and isinstance(value, dict):
        for key, item in value.items():
            yield from mismatches(item, get_args(kind)[1], f"{path}:{key}")
    elif get_origin(kind) is list and isinstance(value, list):
        for number, item in enumerate(value):
            yield from mismatches(item, get_args(kind)[0], f"{path}[{number}]")
    elif get_origin(kind) or not _is(value, kind):
        yield f"{path}: {value!r} is not {describe(kind)}"


def _is(value: object, kind: type) -> bool:
    if kind is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return isinstance(value, kind) and isinstance(value, bool) is (kind is bool)


def describe(kind: Any, *, plural: bool = False) -> str:
    """Return a type in words of JSON."""
    if len(union(kind)) > 1:
        return " or ".join(dict.fromkeys(describe(member, plural=plural) for member in union(kind)))
    if get_origin(kind) is list:
        return f"list{'s' * plural} of {describe(get_args(kind)[0], plural=True)}"
    if get_origin(kind) is dict:
        return f"object{'s' * plural} of {describe(get_args(kind)[1], plural=True)}"
    name = "object" if typing.is_typeddict(kind) else _NAMES[kind]
    return name + "s" * plural


def keys(kind: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield the path and the type in words of every key; ``*`` is any name, ``[]`` any item."""
    for member in union(kind):
        if typing.is_typeddict(member):
            for key, hint in get_type_hints(member).items():
                where = f"{path}:{key}" if path else key
                optional = ", optional" if key not in member.__required_keys__ else ""
                yield where, describe(hint) + optional
                yield from keys(hint, where)
        elif get_origin(member) is dict:
            yield from keys(get_args(member)[1], f"{path}:*" if path else "*")
        elif get_origin(member) is list:
            yield from keys(get_args(member)[0], f"{path}[]")


def paths(value: object, kind: Any, path: str = "") -> Iterator[str]:
    """Yield the paths, as :func:`keys` writes them, that a value has."""
    for member in union(kind):
        if typing.is_typeddict(member) and isinstance(value, dict):
            hints = get_type_hints(member)
            for key in value.keys() & hints.keys():
                where = f"{path}:{key}" if path else key
                yield where
                yield from paths(value[key], hints[key], where)
        elif get_origin(member) is dict and isinstance(value, dict):
            for item in value.values():
                yield from paths(item, get_args(member)[1], f"{path}:*" if path else "*")
        elif get_origin(member) is list and isinstance(value, list):
            for item in value:
                yield from paths(item, get_args(member)[0], f"{path}[]")
