"""Which lingering addresses other nodes claim, and since when."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, field

from salt_ext.core.cluster.claims import Item

CONTEST = 30.0
"""
Seconds for which another node must claim a lingering address before its grace ends.

A node that claims it for a moment, and drops it, does not end the grace of an honest one.
"""


@dataclass(slots=True)
class Contests:
    """The claims of all nodes by address; a change costs the same however many nodes there are."""

    after: float = CONTEST
    _claim_counts: dict[Item, int] = field(default_factory=dict)
    _claimed_since: dict[Item, float] = field(default_factory=dict)
    """Since when at least one node claims it."""
    _lingering_on: dict[Item, set[str]] = field(default_factory=dict)

    def claim(self, items: Set[Item], now: float) -> None:
        """Record that a node claims addresses, beside those that it claimed before."""
        for item in items:
            count = self._claim_counts.get(item, 0)
            self._claim_counts[item] = count + 1
            if not count:
                self._claimed_since[item] = now

    def unclaim(self, items: Set[Item]) -> None:
        """Record that a node no longer claims addresses."""
        for item in items:
            self._claim_counts[item] -= 1
            if not self._claim_counts[item]:
                del self._claim_counts[item], self._claimed_since[item]

    def linger(self, items: Set[Item], name: str) -> None:
        """Record that addresses linger on a node."""
        for item in items:
            self._lingering_on.setdefault(item, set()).add(name)

    def stop_lingering(self, items: Set[Item], name: str) -> None:
        """Record that the grace of addresses has ended on a node."""
        for item in items:
            self._lingering_on[item].discard(name)
            if not self._lingering_on[item]:
                del self._lingering_on[item]

    def lingering_on(self, item: Item) -> list[str]:
        """Return the nodes on which an address lingers."""
        return sorted(self._lingering_on.get(item, ()))

    def is_contested(self, item: Item) -> bool:
        """Whether an address lingers on a node and is claimed, by that node or another one."""
        return item in self._lingering_on and item in self._claim_counts

    def ends_at(self, item: Item, unclaimed_since: float) -> float:
        """Return when the grace ends on a node that has not claimed the address since then."""
        return max(self._claimed_since[item], unclaimed_since) + self.after
