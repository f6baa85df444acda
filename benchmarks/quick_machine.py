"""
What the peers measure on a quiet, quick machine: the divisors of the aims.

The aims were absolute, set for such a machine. Each became a ratio by one of these figures, so that
it asks as much as before. A better measurement may correct a figure here; our own results may not.
"Estimated" figures were never measured on a quiet machine: too small a figure makes an aim easier.
"""

from __future__ import annotations

TYPED_LIST_CPU_S = 2.4
"""Measured: typed ``list_node`` of 5,000 nodes in pages."""
TYPED_LIST_PEAK_MIB = 253.0
"""Measured, the same on every machine so far."""
LIVE_LIST_S = 2.85
"""Measured: an ext_pillar that lists 5,000 nodes."""
FORMULA_S = 2.12
"""Measured: the formula's own CPU on ten minions, shared by two cores."""
LOOP_MS = 7.1
"""Measured: the fastest of 200 loops on a busy machine, in CPU of its thread."""
LIST_RULESET_S = 1.15
"""Measured: ``nft -j list ruleset`` of 20,000 rules of iptables-nft."""
HEARTBEATS_MIB = 40.0
"""Computed: 50 heartbeats/s for 59 s, of 13.6 KB each."""

COMPILE_CPU_MS = 45.0
"""Estimated: 71 ms where our ext_pillar added 1.95 ms, which is 1.15 ms on a quick machine."""
EMPTY_RUN_S = {1: 0.5, 10: 1.5}
"""Estimated, by minions: with one, the fastest of 15 took 0.73 s on a busy machine."""
MINION_START_S = 3.4
"""Estimated: the fastest start on a busy machine."""


def aim(absolute: float, divisor: float) -> float:
    """Return the largest good ratio, in three digits as the table shows it."""
    return float(f"{absolute / divisor:.3g}")
