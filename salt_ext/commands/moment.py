"""A moment as people and programs read it."""

from __future__ import annotations

import time


def utc(seconds: float) -> str:
    """Return a moment, in seconds since 1970, as ISO 8601 has it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
