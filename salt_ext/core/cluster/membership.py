"""The members of a cluster as its nodes come, change and go."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from salt_ext.core.cluster.address import Address, Network
from salt_ext.core.cluster.guard import Held, Kind
from salt_ext.core.cluster.member import Limits, Member, RejectReason, admit
from salt_ext.core.cluster.node import AddressType, Node

Addresses = Mapping[AddressType, tuple[Address | Network, ...]]


@dataclass(slots=True)
class Membership:
    """
    The members as their nodes tell it, each admitted once when its node changes.

    A node that exists but tells no address of a type any more keeps the ones that it had for
    ``grace`` seconds; a node that claims too many stays what it was. Times are monotonic seconds.
    """

    limits: Limits
    grace: float
    told: dict[str, Member] = field(default_factory=dict)
    """What the nodes say now, by name; to begin with, what was stored."""
    over_limit: dict[str, int] = field(default_factory=dict)
    """Nodes that claim too many addresses, and how many."""
    _refused: dict[str, list[RejectReason]] = field(default_factory=dict)
    _lingering: dict[str, tuple[float, Addresses]] = field(default_factory=dict)
    """Addresses that a node had and tells no more, and until when they stay."""

    def replace_all(self, nodes: Iterable[Node], now: float) -> None:
        """Take a complete view."""
        listed = {node.name: node for node in nodes}
        for name in (self.told.keys() | self.over_limit.keys()) - listed.keys():
            self.drop(name)
        for node in listed.values():
            self.put(node, now)

    def put(self, node: Node, now: float) -> bool:
        """Take one node, new or changed; True when it has, or had, an address."""
        name = node.name
        if name in self.told and self.told[name].uid != node.uid:
            self.drop(name)
        claimed = node.claimed()
        if claimed > self.limits.addresses_per_node:
            self.over_limit[name] = claimed
            return False
        self.over_limit.pop(name, None)
        had = self._effective(name)
        member, refused = admit(node, self.limits)
        if self.told.get(name) != member:
            # One that did not change stays the same object, which compares in no time.
            self.told[name] = member
        if refused:
            self._refused[name] = refused
        else:
            self._refused.pop(name, None)
        lost = {kind: items for kind, items in had.items() if kind not in member.addresses}
        if lost:
            until, _ = self._lingering.get(name, (now + self.grace, None))
            self._lingering[name] = until, lost
        else:
            self._lingering.pop(name, None)
        return bool(had or member.addresses)

    def drop(self, name: str) -> None:
        """Take that a node is gone."""
        for known in (self.told, self.over_limit, self._refused, self._lingering):
            known.pop(name, None)

    def current(self, now: float) -> dict[str, Member]:
        """Return the members with the addresses that they may be reached at now."""
        for name in [name for name, (until, _) in self._lingering.items() if now >= until]:
            del self._lingering[name]
        if not self._lingering:
            return dict(self.told)
        self._give_up_what_others_tell()
        return {
            name: replace(member, addresses=self._effective(name))
            if name in self._lingering
            else member
            for name, member in self.told.items()
        }

    def next_expiry(self) -> float | None:
        """Return when the next grace ends, None when none runs."""
        return min((until for until, _ in self._lingering.values()), default=None)

    def held(self) -> tuple[Held, ...]:
        """Return the nodes that stay what they were because they claim too many addresses."""
        if not self.over_limit:
            return ()
        most = self.limits.addresses_per_node
        name, claimed = max(self.over_limit.items(), key=lambda item: item[1])
        return (
            Held(
                kind=Kind.NODE,
                why=f"{len(self.over_limit)} nodes claim more than {most} addresses, "
                f"{name} claims {claimed}",
                keys=frozenset(self.over_limit),
            ),
        )

    def refused(self) -> Counter[RejectReason]:
        """Return how many addresses of the present nodes are dropped, and why."""
        return Counter(why for refused in self._refused.values() for why in refused)

    def _effective(self, name: str) -> Addresses:
        told = self.told[name].addresses if name in self.told else {}
        _, lost = self._lingering.get(name, (0.0, {}))
        return {**lost, **told}

    def _give_up_what_others_tell(self) -> None:
        """An address that another node tells is that node's, also when that one is gone."""
        tellers = Counter(item for member in self.told.values() for item in member.all_addresses())
        for name, (until, lost) in list(self._lingering.items()):
            own = self.told[name].all_addresses()
            left = {
                kind: tuple(item for item in items if tellers[item] == (item in own))
                for kind, items in lost.items()
            }
            self._lingering[name] = until, {kind: items for kind, items in left.items() if items}
