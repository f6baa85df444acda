"""Polling: wait for a condition, at most so long."""

from __future__ import annotations

import time
from collections.abc import Callable

from lab.errors import TookTooLong


def wait_until(
    true: Callable[[], object], *, within: float, what: str, every: float = 0.01
) -> float:
    """Wait for a condition, bounded; how many seconds it took."""
    begin = time.monotonic()
    while not true():
        if time.monotonic() - begin > within:
            raise TookTooLong(f"{what} did not happen within {within:g} s")
        time.sleep(every)
    return time.monotonic() - begin
