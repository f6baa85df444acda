"""Write a rule of nft's JSON for people, much as nft itself writes it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_PLAIN = frozenset({"accept", "drop", "return", "continue", "notrack"})


def rule(statements: list[Any], comment: object = None) -> str:
    """Return the statements of one rule as text."""
    words = [statement(one) for one in statements]
    if isinstance(comment, str):
        words.append(f'comment "{comment}"')
    return " ".join(word for word in words if word)


def statement(one: Any) -> str:
    """Return one statement as text."""
    if not isinstance(one, Mapping) or len(one) != 1:
        return expression(one)
    ((name, value),) = one.items()
    if name in _PLAIN:
        return str(name)
    if name in ("jump", "goto"):
        return f"{name} {value.get('target') if isinstance(value, Mapping) else value}"
    if name == "match" and isinstance(value, Mapping):
        sign = value.get("op")
        sign = "" if sign in ("==", "in", None) else f"{sign} "
        return f"{expression(value.get('left'))} {sign}{expression(value.get('right'))}"
    if name == "vmap" and isinstance(value, Mapping):
        return f"{expression(value.get('key'))} vmap {expression(value.get('data'))}"
    if name in ("counter", "log", "limit", "reject"):
        return str(name)
    if name == "mangle" and isinstance(value, Mapping):
        return f"{expression(value.get('key'))} set {expression(value.get('value'))}"
    if name == "xt":
        if isinstance(value, Mapping):
            return f"xt {value.get('type')} {value.get('name')}"
        return "xt"
    if name in ("set", "map") and isinstance(value, Mapping):
        return f"{value.get('op')} {value.get('set')} {{ {expression(value.get('elem'))} }}"
    if value is None:
        return str(name)
    return f"{name} {expression(value)}"


def expression(one: Any) -> str:
    """Return one expression as text."""
    if isinstance(one, list):
        if len(one) == 2 and isinstance(one[1], Mapping) and not isinstance(one[0], list):
            return f"{expression(one[0])} : {statement(one[1])}"
        return ", ".join(expression(part) for part in one)
    if not isinstance(one, Mapping) or len(one) != 1:
        return one if isinstance(one, str) else json.dumps(one)
    ((name, value),) = one.items()
    if isinstance(value, Mapping):
        if name == "payload":
            if "base" in value:
                return f"@{value.get('base')},{value.get('offset')},{value.get('len')}"
            return f"{value.get('protocol', value.get('name'))} {value.get('field')}"
        if name in ("meta", "ct"):
            words = ("ct" if name == "ct" else "", value.get("dir"), value.get("key"))
            return " ".join(str(word) for word in words if word)
        if name == "prefix":
            return f"{value.get('addr')}/{value.get('len')}"
        if name == "elem":
            return expression(value.get("val"))
    if isinstance(value, list):
        if name == "range":
            return "-".join(expression(part) for part in value)
        if name == "concat":
            return " . ".join(expression(part) for part in value)
        if name == "set":
            return f"{{ {', '.join(expression(part) for part in value)} }}"
        if name in ("&", "|", "^"):
            return f" {name} ".join(expression(part) for part in value)
    return json.dumps(one)
