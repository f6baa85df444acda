"""The members of a cluster as its nodes come, change and go, and what separates two views."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from salt_ext.core.address import Address, Network, order
from salt_ext.core.member import Limits, Member, Refused, addresses_of, admit
from salt_ext.core.node import Node


@dataclass(slots=True)
class Membership:
    """The newest members, each admitted once when its node changes."""

    limits: Limits
    members: dict[str, Member] = field(default_factory=dict)
    _refused: dict[str, Counter[Refused]] = field(default_factory=dict)

    def replace(self, nodes: Iterable[Node]) -> None:
        """Take a complete view."""
        self.members, self._refused = {}, {}
        for node in nodes:
            self.put(node)

    def put(self, node: Node) -> None:
        """Take one node, new or changed."""
        member, refused = admit(node, self.limits)
        self.members[node.name] = member
        if refused:
            self._refused[node.name] = refused
        else:
            self._refused.pop(node.name, None)

    def drop(self, name: str) -> None:
        """Take that a node is gone."""
        self.members.pop(name, None)
        self._refused.pop(name, None)

    def refused(self) -> Counter[Refused]:
        """Return how many addresses of the present nodes are dropped, and why."""
        return sum(self._refused.values(), Counter())


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


def between(old: Mapping[str, Member], new: Mapping[str, Member]) -> Difference:
    """Return what separates two views; a name whose uid changed is an update."""
    joined = [new[name] for name in sorted(new.keys() - old.keys())]
    left = [old[name] for name in sorted(old.keys() - new.keys())]
    updated = [new[name] for name in sorted(new.keys() & old.keys()) if new[name] != old[name]]
    had = addresses_of([*left, *(old[member.name] for member in updated)])
    has = addresses_of([*joined, *updated])
    # Two nodes may claim one address: it is removed when the last of them is gone.
    others = [new[name] for name in new.keys() & old.keys() if new[name] == old[name]]
    gone, came = had - has, has - had
    if gone or came:
        kept = addresses_of(others)
        gone, came = gone - kept, came - kept
    return Difference(
        joined=tuple(joined),
        left=tuple(left),
        updated=tuple(updated),
        added=tuple(sorted(came, key=order)),
        removed=tuple(sorted(gone, key=order)),
    )
