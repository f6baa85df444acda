"""
Label and field selectors, as the query parameters of a LIST or WATCH spell them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from lab.kubernetes.emulator.status import bad_request
from lab.kubernetes.emulator.validation import is_label_key, is_label_value

Labels = Mapping[str, str]
Matches = Callable[[Labels], bool]

_TOKEN = re.compile(r"\s*(==|!=|=|[(),!<>]|[^\s=!(),<>]+)")


def everything(_: Labels) -> bool:
    return True


def parse_labels(text: str) -> Matches:
    """``a=b,c!=d,e in (f,g),h notin (i),j,!k``; what cannot be read is a 400."""
    if not text.strip():
        return everything
    parser = _Parser(text)
    requirements = [parser.requirement()]
    while parser.accept(","):
        requirements.append(parser.requirement())
    if parser.peek() is not None:
        parser.fail(f"found '{parser.peek()}', expected: ',' or 'end of string'")
    return lambda labels: all(matches(labels) for matches in requirements)


def parse_fields(text: str) -> Callable[[str], bool]:
    """Only ``metadata.name`` can be selected on, with ``=``, ``==`` and ``!=``."""
    wanted: list[tuple[str, bool]] = []
    for part in filter(None, (one.strip() for one in text.split(","))):
        match = re.fullmatch(r"([^=!]+)(==|=|!=)(.*)", part)
        if match is None:
            raise bad_request(f"invalid selector: '{text}'; can't understand '{part}'")
        if match[1] != "metadata.name":
            raise bad_request(f"field label not supported: {match[1]}")
        wanted.append((match[3], match[2] != "!="))
    return lambda name: all((name == value) is equal for value, equal in wanted)


class _Parser:
    def __init__(self, text: str) -> None:
        self._tokens = [match[1] for match in _TOKEN.finditer(text)]
        self._at = 0

    def peek(self) -> str | None:
        return self._tokens[self._at] if self._at < len(self._tokens) else None

    def take(self) -> str:
        token = self.peek()
        if token is None:
            self.fail("found '', expected: identifier")
        self._at += 1
        return token or ""

    def accept(self, token: str) -> bool:
        if self.peek() == token:
            self._at += 1
            return True
        return False

    def fail(self, why: str) -> None:
        raise bad_request(f"unable to parse requirement: {why}")

    def requirement(self) -> Matches:
        if self.accept("!"):
            key = self.key()
            return lambda labels: key not in labels
        key = self.key()
        operator = self.peek()
        if operator in (None, ","):
            return lambda labels: key in labels
        operator = self.take()
        if operator in ("=", "=="):
            value = self.value()
            return lambda labels: labels.get(key) == value
        if operator == "!=":
            value = self.value()
            return lambda labels: labels.get(key) != value
        if operator == "in":
            among = self.values()
            return lambda labels: labels.get(key) in among
        if operator == "notin":
            among = self.values()
            return lambda labels: labels.get(key) not in among
        if operator in ("<", ">"):
            return self.comparison(key, operator)
        self.fail(f"found '{operator}', expected: in, notin, =, ==, !=, gt, lt")
        raise AssertionError

    def comparison(self, key: str, operator: str) -> Matches:
        bound = self.take()
        if not bound.isdigit():
            self.fail(f"for 'Gt', 'Lt' operators, the value must be an integer: {bound}")
        limit = int(bound)

        def matches(labels: Labels) -> bool:
            value = labels.get(key, "")
            if not value.isdigit():
                return False
            return int(value) > limit if operator == ">" else int(value) < limit

        return matches

    def key(self) -> str:
        key = self.take()
        if not is_label_key(key):
            self.fail(f"invalid label key '{key}'")
        return key

    def value(self) -> str:
        value = "" if self.peek() in (None, ",") else self.take()
        if not is_label_value(value):
            self.fail(f"invalid label value '{value}'")
        return value

    def values(self) -> frozenset[str]:
        if not self.accept("("):
            self.fail(f"found '{self.peek() or ''}', expected: '('")
        found = [self._among()]
        while self.accept(","):
            found.append(self._among())
        if not self.accept(")"):
            self.fail(f"found '{self.peek() or ''}', expected: ',' or ')'")
        return frozenset(found)

    def _among(self) -> str:
        if self.peek() in (",", ")"):
            return ""
        return self.value()
