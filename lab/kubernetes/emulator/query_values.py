"""
The values of query parameters, read as the real server reads them.
"""

from __future__ import annotations

from lab.kubernetes.emulator.status import bad_request


def number(text: str) -> int:
    """A resourceVersion as a number; unset is 0."""
    if not text:
        return 0
    if not text.isdigit():
        why = f'resourceVersion: Invalid value: "{text}": strconv.ParseUint: parsing "{text}"'
        raise bad_request(f"invalid resource version: {why}: invalid syntax")
    return int(text)


def integer(text: str) -> int:
    try:
        return int(text) if text else 0
    except ValueError as error:
        raise bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax') from error


def is_true(text: str | None) -> bool:
    return text in ("true", "True", "1")
