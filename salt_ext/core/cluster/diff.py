"""What separates a view of a cluster from the one that was announced before it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from salt_ext.core.cluster.address import Address, Network, order
from salt_ext.core.cluster.member import Member


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What separates two views of a cluster."""

    joined: tuple[Member, ...]
    left: tuple[Member, ...]
    updated: tuple[Member, ...]
    """As they are now."""
    added: tuple[Address | Network, ...]
    removed: tuple[Address | Network, ...]

    def __bool__(self) -> bool:
        return bool(self.joined or self.left or self.updated)


class Baseline:
    """
    The view that was announced last, and how many of its nodes tell each address.

    Of thousands of nodes one changes at a time: beside looking at each node once, comparing costs
    what the change is.
    """

    def __init__(self, members: Mapping[str, Member]) -> None:
        self._members = members
        self._tellers = _tellers(members.values())

    def until(self, new: Mapping[str, Member]) -> Difference:
        """Return what separates a newer view from it; a name whose uid changed is an update."""
        old = self._members
        joined = [new[name] for name in sorted(new.keys() - old.keys())]
        left = [old[name] for name in sorted(old.keys() - new.keys())]
        changed = [
            name
            for name, one in new.items()
            if (before := old.get(name)) is not one and before is not None and before != one
        ]
        updated = [new[name] for name in sorted(changed)]
        came, gone = self._moved((*left, *(old[name] for name in changed)), (*joined, *updated))
        return Difference(
            joined=tuple(joined),
            left=tuple(left),
            updated=tuple(updated),
            added=tuple(sorted(came, key=order)),
            removed=tuple(sorted(gone, key=order)),
        )

    def move(self, new: Mapping[str, Member], difference: Difference) -> None:
        """Take a newer view for the one that was announced, ``difference`` away from it."""
        before = [self._members[one.name] for one in difference.updated]
        self._tellers.subtract(_tellers((*difference.left, *before)))
        self._tellers.update(_tellers((*difference.joined, *difference.updated)))
        for item in difference.removed:
            del self._tellers[item]
        self._members = new

    def _moved(
        self, was: Iterable[Member], is_now: Iterable[Member]
    ) -> tuple[list[Address | Network], list[Address | Network]]:
        """Return what nobody told before, and what nobody tells any more."""
        had, has = _tellers(was), _tellers(is_now)
        # Two nodes may claim one address: it is removed when the last of them is gone.
        return (
            [item for item in has if not self._tellers[item]],
            [item for item in had if not has[item] and self._tellers[item] == had[item]],
        )


def _tellers(members: Iterable[Member]) -> Counter[Address | Network]:
    return Counter(item for member in members for item in member.all_addresses())
