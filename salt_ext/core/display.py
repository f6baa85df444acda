"""How values are shown to people and programs."""

from __future__ import annotations

from datetime import datetime, timezone


def utc(seconds: float) -> str:
    """Return a time, in seconds since 1970, as ISO 8601 writes it."""
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
