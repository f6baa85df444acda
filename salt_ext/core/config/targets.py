"""Compound targets of the configuration that say who is served, checked without any minion."""

from __future__ import annotations

import re

from salt_ext.core.config.options import text

_MAX_DEPTH = 50
_MAX_WORDS = 2000

_WORDS = ("and", "or", "not", "(", ")")
_ENGINE = re.compile(r"([A-Z])(.?)@")
_COMMON_GRAINS = ("id", "os", "os_family", "kernel", "host", "fqdn", "nodename", "localhost")
"""Grains that every minion has."""
_NEGATED = re.compile(r"\(\?<?!|\[[!^]")
_NOT_LITERAL = re.compile(r"\[[^]]*\]|\(\?<?!.*?\)|[*?.^$+()]")

EVERY_MINION = "serve_to matches every minion, like no serve_to at all"


def serving_target(value: object) -> str:
    """Read a target of minions that are served; refuse one that is only what it excludes."""
    target = text(value)
    if not names_minions(target):
        raise ValueError(
            "a target that names the minions it means, such as `db*` or `web* and not web9`; "
            "with `not` alone it means every other minion, also each new one"
        )
    return target


def matches_everybody(target: str) -> bool:
    """Whether a target is one pattern that every minion matches."""
    words = target.split()
    return len(words) == 1 and not _names(words[0])


def names_minions(target: str) -> bool:
    """
    Whether a compound target says which minions it means, not only which it does not.

    ``*`` says so by itself; ``* and not db*`` is what it excludes.
    """
    words = target.split()
    if len(words) > _MAX_WORDS:
        return False
    if len(words) == 1:
        return words[0] not in _WORDS and (_names(words[0]) or not _NEGATED.search(words[0]))
    parser = _Parser(words)
    return parser.either(0) and parser.done


class _Parser:
    """Salt's grammar, with the precedence of Python: ``not`` before ``and`` before ``or``."""

    def __init__(self, words: list[str]) -> None:
        self._words = words
        self._at = 0

    def _next(self) -> str:
        return self._words[self._at] if self._at < len(self._words) else ""

    @property
    def done(self) -> bool:
        """Whether the whole target was read."""
        return self._at >= len(self._words)

    def either(self, depth: int) -> bool:
        """Every alternative has to name minions."""
        named = self._both(depth)
        while self._next() == "or":
            self._at += 1
            named = self._both(depth) and named
        return named

    def _both(self, depth: int) -> bool:
        """One part is enough, since the others only narrow it."""
        named = self._part(depth)
        while self._next() not in ("", "or", ")"):
            # Without `and`, as in `db* not db9`, Salt inserts one, or matches no minion.
            self._at += self._next() == "and"
            named = self._part(depth) or named
        return named

    def _part(self, depth: int) -> bool:
        word = self._next()
        self._at += 1
        if depth > _MAX_DEPTH:
            self._at = len(self._words)
            return False
        if word == "not":
            self._part(depth + 1)
            return False
        if word == "(":
            named = self.either(depth + 1)
            self._at += self._next() == ")"
            return named
        return bool(word) and _names(word)


def _names(word: str) -> bool:
    """Whether a pattern matches certain minions, not nearly all, nor all but some."""
    matcher = _ENGINE.match(word)
    if matcher is None:
        return _has_literal(word)
    engine, pattern = matcher[1], word[matcher.end() :]
    if engine == "S":
        return not pattern.endswith("/0")
    if engine in ("G", "P", "I", "J"):
        key, _, pattern = pattern.partition(matcher[2] or ":")
        if engine in ("G", "P") and key in _COMMON_GRAINS:
            return _has_literal(pattern)
    elif engine == "E":
        return _has_literal(pattern)
    return _NEGATED.search(pattern) is None or _has_literal(pattern)


def _has_literal(pattern: str) -> bool:
    return bool(_NOT_LITERAL.sub("", pattern))
