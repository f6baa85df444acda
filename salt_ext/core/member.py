"""What of a node's claims is true enough to open a firewall for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from ipaddress import IPv4Network, IPv6Network

from salt_ext.core.address import (
    Address,
    Addresses,
    Network,
    address,
    network,
    order,
    overlaps,
    within,
)
from salt_ext.core.node import AddressType, Node


class Refused(str, Enum):
    """Why a claimed address was dropped."""

    UNREADABLE = "unreadable"
    OUTSIDE = "outside allowed_networks"
    NEVER = "inside never"
    TOO_WIDE = "podCIDR too wide"


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A node of the cluster with the addresses that were let through."""

    name: str
    uid: str
    addresses: Mapping[AddressType, tuple[Address | Network, ...]]
    labels: Mapping[str, str] = field(default_factory=dict)
    ready: bool = False

    def everything(self) -> frozenset[Address | Network]:
        """Return all addresses of all types."""
        return frozenset(item for items in self.addresses.values() for item in items)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What may be opened for the nodes of one cluster."""

    allowed: tuple[Network, ...]
    never: tuple[Network, ...]
    addresses_per_node: int = 16
    """A node that claims more is held as a whole."""
    widest_ipv4: int = 20
    """Shortest prefix of a podCIDR."""
    widest_ipv6: int = 56

    def refuse(self, item: Address | Network) -> Refused | None:
        """Return why an address may not be opened, None when it may."""
        if overlaps(item, self.never):
            return Refused.NEVER
        if not within(item, self.allowed):
            return Refused.OUTSIDE
        if isinstance(item, Network) and item.prefixlen < self._shortest(item):
            return Refused.TOO_WIDE
        return None

    def sieve(self) -> Callable[[Address | Network], bool]:
        """Return a function that tells of many items whether each may be opened."""
        allowed, never = Addresses(self.allowed), Addresses(self.never)

        def lets_through(item: Address | Network) -> bool:
            if isinstance(item, (IPv4Network, IPv6Network)):
                return self.refuse(item) is None
            return item in allowed and item not in never

        return lets_through

    def _shortest(self, item: Network) -> int:
        return self.widest_ipv4 if item.version == 4 else self.widest_ipv6


def admit(node: Node, limits: Limits) -> tuple[Member, Counter[Refused]]:
    """Return the node as a member, and what of its claims was dropped and why."""
    refused: Counter[Refused] = Counter()
    kept: dict[AddressType, set[Address | Network]] = {}
    for kind, text in node.claims():
        try:
            item = network(text) if kind is AddressType.POD_CIDR else address(text)
        except ValueError:
            refused[Refused.UNREADABLE] += 1
            continue
        why = limits.refuse(item)
        if why:
            refused[why] += 1
        else:
            kept.setdefault(kind, set()).add(item)
    member = Member(
        name=node.name,
        uid=node.uid,
        addresses={kind: tuple(sorted(items, key=order)) for kind, items in kept.items()},
        labels=node.labels,
        ready=node.ready,
    )
    return member, refused


def addresses_of(members: Iterable[Member]) -> frozenset[Address | Network]:
    """Return all addresses of all members."""
    return frozenset().union(*(member.everything() for member in members))
