"""A fixed loop of Python: the peer of a figure that has no other."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

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
    """Return the wall clock seconds of one loop on this machine now, the median of many."""
    return _median(time.perf_counter)


def loop_cpu() -> float:
    """Return the CPU seconds of one loop: the peer of CPU, which other processes hardly change."""
    return _median(time.thread_time)


def _median(clock: Callable[[], float]) -> float:
    seconds = []
    for _ in range(WARM_UP + REPEATS):
        begun = clock()
        reference_loop()
        seconds.append(clock() - begun)
    return statistics.median(seconds[WARM_UP:])
