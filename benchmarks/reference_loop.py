"""A fixed loop of Python: the peer of a figure that has no other."""

from __future__ import annotations

import statistics
import time

ENTRIES = 20_000
REPEATS = 25
WARM_UP = 3

PEER_NAME = "the reference loop"


def reference_loop() -> int:
    """
    Fill a dict with 20,000 formatted names and add up its values.

    That is what our own code spends its time on: strings, dicts and small integers. A change here
    changes the meaning of every aim whose derivation names the loop.
    """
    residues = {f"node-{number:05d}": number * number % 7 for number in range(ENTRIES)}
    return sum(residues.values())


def loop_seconds() -> float:
    """Return the seconds of one reference loop on this machine now, the median of many."""
    seconds = []
    for _ in range(WARM_UP + REPEATS):
        begun = time.perf_counter()
        reference_loop()
        seconds.append(time.perf_counter() - begun)
    return statistics.median(seconds[WARM_UP:])
