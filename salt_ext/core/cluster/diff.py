"""The difference between two views of a cluster: the last announced one and a newer one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from salt_ext.core.cluster.address import Address, Network, sort_key
from salt_ext.core.cluster.member import Member


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Nodes and addresses that differ between two views; false when nothing differs."""

    joined: tuple[Member, ...]
    left: tuple[Member, ...]
    updated: tuple[Member, ...]
    """Members of the newer view whose uid, addresses, labels or readiness changed."""
    added: tuple[Address | Network, ...]
    removed: tuple[Address | Network, ...]

    def __bool__(self) -> bool:
        return bool(self.joined or self.left or self.updated)


class Baseline:
    """
    The last announced view, with the number of nodes that claim each address.

    Usually one of thousands of nodes changes. Each node is compared once; the rest of the work
    grows with the size of the change, not of the cluster.
    """

    def __init__(self, members: Mapping[str, Member]) -> None:
        self._members = members
        self._claim_counts = _count_claims(members.values())

    def diff(self, new: Mapping[str, Member]) -> Difference:
        """Return the difference to a newer view; a name whose uid changed is an update."""
        old = self._members
        joined = [new[name] for name in sorted(new.keys() - old.keys())]
        left = [old[name] for name in sorted(old.keys() - new.keys())]
        changed = [
            name
            for name, member in new.items()
            if (before := old.get(name)) is not member and before is not None and before != member
        ]
        updated = [new[name] for name in sorted(changed)]
        added, removed = self._address_changes(
            (*left, *(old[name] for name in changed)), (*joined, *updated)
        )
        return Difference(
            joined=tuple(joined),
            left=tuple(left),
            updated=tuple(updated),
            added=tuple(sorted(added, key=sort_key)),
            removed=tuple(sorted(removed, key=sort_key)),
        )

    def advance(self, new: Mapping[str, Member], difference: Difference) -> None:
        """Make ``new`` the baseline; ``difference`` is what :meth:`diff` returned for it."""
        replaced = [self._members[member.name] for member in difference.updated]
        self._claim_counts.subtract(_count_claims((*difference.left, *replaced)))
        self._claim_counts.update(_count_claims((*difference.joined, *difference.updated)))
        for item in difference.removed:
            del self._claim_counts[item]
        self._members = new

    def _address_changes(
        self, before: Iterable[Member], after: Iterable[Member]
    ) -> tuple[list[Address | Network], list[Address | Network]]:
        """Return the addresses that no node claimed before, and those that no node claims now."""
        old, new = _count_claims(before), _count_claims(after)
        # Two nodes may claim one address: it is removed with the last of them.
        return (
            [item for item in new if not self._claim_counts[item]],
            [item for item in old if not new[item] and self._claim_counts[item] == old[item]],
        )


def _count_claims(members: Iterable[Member]) -> Counter[Address | Network]:
    return Counter(item for member in members for item in member.all_addresses())
