"""How values are shown to operators and in logs: times, lists of names, untrusted values."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone


def utc(seconds: float) -> str:
    """Return a time, in seconds since 1970, in ISO 8601 and UTC."""
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_time(value: object) -> float:
    """
    Return a time in seconds since 1970 from ISO 8601, in UTC unless it says otherwise.

    Salt reads an argument as YAML: a date or a time may come in place of the text.
    :class:`ValueError` for anything else.
    """
    text = str(value).strip()
    # Python 3.10 does not know the letter.
    parsed = datetime.fromisoformat(f"{text[:-1]}+00:00" if text.endswith(("Z", "z")) else text)
    if parsed.tzinfo is None:
        parsed = parsed.replace(tzinfo=timezone.utc)
    if not 1970 < parsed.year < 9999:
        raise ValueError(text)
    return parsed.timestamp()


def names(items: Iterable[str], limit: int = 5) -> str:
    """Return the first names in order, and the number of the others: ``m1, m2 and 3 more``."""
    ordered = sorted(items)
    more = f" and {len(ordered) - limit} more" if len(ordered) > limit else ""
    return ", ".join(ordered[:limit]) + more


def counted(number: int, one: str, several: str) -> str:
    """Return a number with its noun: ``1 node``, ``2 nodes``."""
    return f"{number} {one if number == 1 else several}"


def quote(value: object, limit: int = 80) -> str:
    """
    Return ``repr`` of an untrusted value, cut to ``limit`` characters, without possible secrets.

    Omitted are the passwords in URLs, the values of mappings (only the keys are shown), and lists
    within lists.
    """
    try:
        text = without_password(repr(_without_secrets(value)))
    except ValueError:
        # Python writes no number of more than 4,300 digits.
        text = f"a {type(value).__name__} that is too long to show"
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


MAX_REASON = 500
"""Characters of a person's reason that are kept."""


def reason_text(value: object) -> str:
    """
    Return why a person did something, on one line: without control characters, and not too long.

    Salt reads an argument as YAML: a number or a list may come in place of the text.
    """
    text = "" if value is None else " ".join(str(value).split())
    shown = "".join(one if one.isprintable() else repr(one)[1:-1] for one in text)
    return shown if len(shown) <= MAX_REASON else f"{shown[: MAX_REASON - 3]}..."


def without_password(text: str) -> str:
    """Return a text without the user and the password in its URLs."""

    def strip_userinfo(match: re.Match[str]) -> str:
        userinfo, at, host = match[0].rpartition("@")
        return f"//...@{host}" if at else userinfo + host

    return re.sub(r"//[^\s'\"]*", strip_userinfo, text)


class _Omitted:
    """Replaces a value that is not shown."""

    def __repr__(self) -> str:
        return "..."


_OMITTED = _Omitted()


def _without_secrets(value: object) -> object:
    if isinstance(value, Mapping):
        return dict.fromkeys(value, _OMITTED)
    if isinstance(value, (list, tuple)):
        return [
            _without_secrets(item)
            if isinstance(item, Mapping)
            else (_OMITTED if isinstance(item, (list, tuple)) else item)
            for item in value
        ]
    return value
