"""Reads a mapping of the configuration; reports each wrong key with value and allowed values."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar, cast

from salt_ext.core.config import places
from salt_ext.core.display import quote
from salt_ext.core.errors import ConfigError

T = TypeVar("T")

_REQUIRED: Any = object()

HIDDEN = "(not shown)"
"""Replaces a value that must not get into a log."""

_MAX_NAME = 100
"""Characters of an unknown key that are compared with the known ones."""


class NotAMapping(ConfigError):
    """A value in place of a mapping: what belongs into it may be at a wrong level."""


class UnknownKey(ConfigError):
    """A key that its mapping does not have: misspelt, or at a wrong level."""

    def __init__(
        self, key: str, allowed: str, *, name: str, written: object, here: Iterable[str] = ()
    ) -> None:
        # An unknown key may hold anything, even a token.
        super().__init__(key, HIDDEN, allowed)
        self.name = name
        self.written = written
        """The value, which is never shown."""
        self.here = frozenset(here)
        """The keys that the mapping has."""


class WrongLevel(ValueError):
    """A key that belongs elsewhere, in a value in which any key is allowed."""

    def __init__(self, allowed: str, name: str, written: object) -> None:
        super().__init__(allowed)
        self.name = name
        self.written = written


class PartlyRead(ValueError):
    """A mistake in a value of which a part could be read."""

    def __init__(self, allowed: str, readable: object) -> None:
        super().__init__(allowed)
        self.readable = readable


class Options:
    """
    One mapping of the configuration, read key by key.

    Mistakes are collected in ``problems`` (shared with nested mappings), so that one start shows
    all of them. A key with a mistake reads as its default.
    """

    def __init__(self, raw: object, path: str, problems: list[ConfigError]) -> None:
        self.path = path
        self.problems = problems
        self._known: list[str] = []
        self._renamed: list[str] = []
        self._raw: Mapping[object, Any] = {}
        if isinstance(raw, Mapping):
            self._raw = raw
        else:
            problems.append(NotAMapping(path, raw, "a mapping"))

    def has(self, key: str) -> bool:
        """Whether the key is present, with any value but null."""
        return self._raw.get(key) is not None

    def has_null(self, key: str) -> bool:
        """Whether the key is written without a value."""
        return key in self._raw and self._raw[key] is None

    @property
    def keys(self) -> tuple[object, ...]:
        """The keys as written."""
        return tuple(self._raw)

    def raw(self, key: str) -> object:
        """Return the value as written."""
        return self._raw.get(key)

    def take(
        self,
        key: str,
        read: Callable[[Any], T],
        default: T = _REQUIRED,
        *,
        hide: bool = False,
        was: str = "",
    ) -> T:
        """
        Return the value of ``key``, converted by ``read``.

        ``read`` raises :class:`ValueError` with a message that says what is allowed. Without
        ``default`` the key is required. With ``hide``, a wrong value is not shown. ``was`` is an
        old name of the key: it is reported with the new name, but its value still counts. So does
        what a :class:`PartlyRead` has. A key without a value is a mistake: what it had may be lost.
        """
        value = self._take_raw(key, was)
        if value is None:
            if default is _REQUIRED:
                allowed = f"{_allowed(read)} (required)"
                self.problems.append(ConfigError(self._at(key), None, allowed))
            elif self.has_null(key):
                allowed = f"{_allowed(read)}, or no such key"
                self.problems.append(ConfigError(self._at(key), None, allowed))
            return default
        try:
            return read(value)
        except WrongLevel as exc:
            at, allowed = self._at(key), str(exc)
            self.problems.append(
                UnknownKey(at, allowed, name=exc.name, written=exc.written, here=())
            )
            return default
        except ValueError as exc:
            reported = HIDDEN if hide else value
            self.problems.append(ConfigError(self._at(key), reported, str(exc)))
            return cast("T", exc.readable) if isinstance(exc, PartlyRead) else default

    def below(self, key: str, *, may_be_null: bool = False) -> Options:
        """Return the mapping under ``key``; empty when the key is absent."""
        value = self._take_raw(key, "")
        absent = key not in self._raw or (value is None and may_be_null)
        return Options({} if absent else value, self._at(key), self.problems)

    def finish(self) -> None:
        """Report every unknown key."""
        for key in self._raw:
            if key in self._known or key in self._renamed:
                continue
            name = str(key)
            self.problems.append(
                UnknownKey(
                    self._at(key),
                    f"only {_key_list(self._known)}{self._hint(name)}",
                    name=name,
                    written=self._raw[key],
                    here=self._known,
                )
            )

    def refuse_name(self, name: object, allowed: str) -> None:
        """Report a key of a mapping in which every key is a name that people choose."""
        written = self._raw.get(name)
        problem = UnknownKey(self.path, allowed, name=str(name), written=written)
        problem.value = name
        self.problems.append(problem)

    def _hint(self, name: str) -> str:
        known = places.resembles(name)
        if known and known not in self._known:
            return places.hint(name)
        close = difflib.get_close_matches(name[:_MAX_NAME], self._known, n=1)
        meant = known or (close[0] if close else "")
        return f" (did you mean {meant}?)" if meant else ""

    def _take_raw(self, key: str, was: str) -> Any:
        self._known.append(key)
        value = self._raw.get(key)
        if was and was in self._raw:
            self._renamed.append(was)
            allowed = f"the new name of this key: {key}"
            self.problems.append(ConfigError(self._at(was), HIDDEN, allowed))
            # A denied network stays denied under the old name too.
            old = self._raw[was]
            if isinstance(old, list) and isinstance(value, list):
                value = [*old, *value]
            elif value is None:
                value = old
        return value

    def _at(self, key: object) -> str:
        name = str(key)
        # A name with a colon must not look like the path of another key.
        plain = name.isprintable() and ":" not in name
        return f"{self.path}:{name if plain else quote(name)}"


def _allowed(read: Callable[[Any], Any]) -> str:
    """Return the values that ``read`` allows: every reader refuses None with that message."""
    try:
        read(None)
    except ValueError as exc:
        return str(exc)
    return "a value"


def _key_list(keys: list[str]) -> str:
    return "the keys " + ", ".join(sorted(keys))


def text(value: object) -> str:
    """Read a non-empty string."""
    if isinstance(value, str) and value.strip():
        return value
    raise ValueError("a non-empty string")


def path(value: object) -> str:
    """Read an absolute path."""
    if isinstance(value, str) and value.startswith("/"):
        return value
    raise ValueError("an absolute path")


def flag(value: object) -> bool:
    """Read true or false."""
    if isinstance(value, bool):
        return value
    raise ValueError("true or false")


def whole(low: int, high: int) -> Callable[[object], int]:
    """Return a reader of whole numbers within bounds."""

    def read(value: object) -> int:
        if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
            return value
        raise ValueError(f"a whole number from {low} to {high}")

    return read


def seconds(low: float, high: float) -> Callable[[object], float]:
    """Return a reader of durations in seconds within bounds."""

    def read(value: object) -> float:
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if number and low <= value <= high:  # type: ignore[operator]
            return float(value)  # type: ignore[arg-type]
        raise ValueError(f"a number of seconds from {low:g} to {high:g}")

    return read


def list_of(read_item: Callable[[Any], T]) -> Callable[[object], tuple[T, ...]]:
    """Return a reader of non-empty lists."""

    def read(value: object) -> tuple[T, ...]:
        allowed = _allowed(read_item)
        if not isinstance(value, list) or not value:
            raise ValueError(f"a non-empty list, each item {allowed}")
        items = []
        for item in value:
            try:
                items.append(read_item(item))
            except ValueError as exc:
                raise ValueError(f"a list, each item {exc}; {quote(item)} is not") from None
        return tuple(items)

    return read


def one_of(*choices: str) -> Callable[[object], str]:
    """Return a reader of one of these strings."""

    def read(value: object) -> str:
        if isinstance(value, str) and value in choices:
            return value
        raise ValueError("one of " + ", ".join(choices))

    return read
