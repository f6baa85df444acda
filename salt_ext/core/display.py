"""How values are shown to people and programs."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timezone


def utc(seconds: float) -> str:
    """Return a time, in seconds since 1970, as ISO 8601 writes it."""
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def names(several: Iterable[str], most: int = 5) -> str:
    """Return the first names in order, and how many more there are."""
    ordered = sorted(several)
    more = f" and {len(ordered) - most} more" if len(ordered) > most else ""
    return ", ".join(ordered[:most]) + more
