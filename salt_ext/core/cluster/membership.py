"""The members of a cluster while its nodes join, change and leave."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from salt_ext.core.cluster.address import Address, Network
from salt_ext.core.cluster.hold import Held, Kind
from salt_ext.core.cluster.member import Limits, Member, RejectReason, admit
from salt_ext.core.cluster.node import AddressType, Node

AddressesByType = Mapping[AddressType, tuple[Address | Network, ...]]


@dataclass(slots=True)
class Membership:
    """
    The members by name; each is admitted again only when its node changes.

    A node that still exists but no longer reports any address of a type keeps the old ones for
    ``grace`` seconds. A node that claims too many addresses keeps its last accepted state. Times
    are monotonic seconds.
    """

    limits: Limits
    grace: float
    current_claims: dict[str, Member] = field(default_factory=dict)
    """What the nodes report now, by name; at the start, what the store has."""
    over_limit: dict[str, int] = field(default_factory=dict)
    """Nodes that claim too many addresses, with the number that they claim."""
    _rejected: dict[str, list[RejectReason]] = field(default_factory=dict)
    _lingering: dict[str, tuple[float, AddressesByType]] = field(default_factory=dict)
    """Addresses that a node no longer reports, and the time at which they expire."""

    def replace_all(self, nodes: Iterable[Node], now: float) -> None:
        """Replace all nodes with a complete LIST."""
        listed = {node.name: node for node in nodes}
        for name in (self.current_claims.keys() | self.over_limit.keys()) - listed.keys():
            self.drop(name)
        for node in listed.values():
            self.put(node, now)

    def put(self, node: Node, now: float) -> bool:
        """Insert or update one node; return True when it has, or had, an address."""
        name = node.name
        if name in self.current_claims and self.current_claims[name].uid != node.uid:
            self.drop(name)
        claim_count = node.claim_count()
        if claim_count > self.limits.addresses_per_node:
            self.over_limit[name] = claim_count
            return False
        self.over_limit.pop(name, None)
        before = self._effective(name)
        member, rejected = admit(node, self.limits)
        if self.current_claims.get(name) != member:
            # An unchanged member stays the same object, which is fast to compare.
            self.current_claims[name] = member
        if rejected:
            self._rejected[name] = rejected
        else:
            self._rejected.pop(name, None)
        lost = {kind: items for kind, items in before.items() if kind not in member.addresses}
        if lost:
            until, _ = self._lingering.get(name, (now + self.grace, None))
            self._lingering[name] = until, lost
        else:
            self._lingering.pop(name, None)
        return bool(before or member.addresses)

    def drop(self, name: str) -> None:
        """Remove a deleted node and everything known about it."""
        for by_name in (self.current_claims, self.over_limit, self._rejected, self._lingering):
            by_name.pop(name, None)

    def current(self, now: float) -> dict[str, Member]:
        """Return the members by name, including addresses within their grace period."""
        for name in [name for name, (until, _) in self._lingering.items() if now >= until]:
            del self._lingering[name]
        if not self._lingering:
            return dict(self.current_claims)
        self._drop_addresses_claimed_elsewhere()
        return {
            name: replace(member, addresses=self._effective(name))
            if name in self._lingering
            else member
            for name, member in self.current_claims.items()
        }

    def next_expiry(self) -> float | None:
        """Return when the next grace period ends, None when there is none."""
        return min((until for until, _ in self._lingering.values()), default=None)

    def held(self) -> tuple[Held, ...]:
        """Return the nodes that claim too many addresses, as one held change."""
        if not self.over_limit:
            return ()
        limit = self.limits.addresses_per_node
        name, claim_count = max(self.over_limit.items(), key=lambda item: item[1])
        return (
            Held(
                kind=Kind.NODE,
                why=f"{len(self.over_limit)} nodes claim more than {limit} addresses each; "
                f"{name} claims {claim_count}",
                subjects={name: str(count) for name, count in self.over_limit.items()},
            ),
        )

    def rejected(self) -> Counter[RejectReason]:
        """Return the number of rejected addresses of the present nodes, by reason."""
        return Counter(reason for reasons in self._rejected.values() for reason in reasons)

    def _effective(self, name: str) -> AddressesByType:
        claimed = self.current_claims[name].addresses if name in self.current_claims else {}
        _, lost = self._lingering.get(name, (0.0, {}))
        return {**lost, **claimed}

    def _drop_addresses_claimed_elsewhere(self) -> None:
        """End the grace of an address that another node claims; it does not come back later."""
        claim_counts = Counter(
            item for member in self.current_claims.values() for item in member.all_addresses()
        )
        for name, (until, lost) in list(self._lingering.items()):
            own = self.current_claims[name].all_addresses()
            remaining = {
                kind: tuple(item for item in items if claim_counts[item] == (item in own))
                for kind, items in lost.items()
            }
            # An empty type would be a difference where there is none.
            self._lingering[name] = (
                until,
                {kind: items for kind, items in remaining.items() if items},
            )
