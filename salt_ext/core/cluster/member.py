"""What of a node's claims is true enough to open a firewall for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from ipaddress import IPv4Network, IPv6Network

from salt_ext.core.cluster.address import (
    Address,
    Addresses,
    Network,
    address,
    network,
    order,
    overlaps,
    within,
)
from salt_ext.core.cluster.node import AddressType, Node


class RejectReason(str, Enum):
    """Why a claimed address was dropped."""

    UNREADABLE = "unreadable"
    OUTSIDE = "outside allowed_networks"
    DENIED = "inside denied_networks"
    TOO_WIDE = "podCIDR too wide"


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A node of the cluster with the addresses that were let through."""

    name: str
    uid: str
    addresses: Mapping[AddressType, tuple[Address | Network, ...]]
    labels: Mapping[str, str] = field(default_factory=dict)
    ready: bool = False

    def all_addresses(self) -> frozenset[Address | Network]:
        """Return all addresses of all types."""
        return frozenset(item for items in self.addresses.values() for item in items)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What may be opened for the nodes of one cluster."""

    allowed: tuple[Network, ...]
    denied: tuple[Network, ...]
    addresses_per_node: int = 16
    """A node that claims more is held as a whole."""
    min_prefix_ipv4: int = 20
    """Shortest prefix of a podCIDR."""
    min_prefix_ipv6: int = 56

    @cached_property
    def _allowed(self) -> Addresses:
        return Addresses(self.allowed)

    @cached_property
    def _denied(self) -> Addresses:
        return Addresses(self.denied)

    def refuse(self, item: Address | Network) -> RejectReason | None:
        """Return why an address may not be opened, None when it may."""
        if isinstance(item, (IPv4Network, IPv6Network)):
            return self._refuse_network(item)
        if item in self._denied:
            return RejectReason.DENIED
        return None if item in self._allowed else RejectReason.OUTSIDE

    def _refuse_network(self, item: Network) -> RejectReason | None:
        if overlaps(item, self.denied):
            return RejectReason.DENIED
        if not within(item, self.allowed):
            return RejectReason.OUTSIDE
        shortest = self.min_prefix_ipv4 if item.version == 4 else self.min_prefix_ipv6
        return RejectReason.TOO_WIDE if item.prefixlen < shortest else None


def admit(node: Node, limits: Limits) -> tuple[Member, list[RejectReason]]:
    """Return the node as a member, and why each claim that was dropped is."""
    refused: list[RejectReason] = []
    addresses: dict[AddressType, tuple[Address | Network, ...]] = {}
    for kind, texts in node.claims():
        kept: set[Address | Network] = set()
        for text in texts:
            try:
                item = network(text) if kind is AddressType.POD_CIDR else address(text)
            except ValueError:
                refused.append(RejectReason.UNREADABLE)
                continue
            why = limits.refuse(item)
            if why:
                refused.append(why)
            else:
                kept.add(item)
        if kept:
            addresses[kind] = tuple(sorted(kept, key=order))
    member = Member(
        name=node.name, uid=node.uid, addresses=addresses, labels=node.labels, ready=node.ready
    )
    return member, refused


def addresses_of(members: Iterable[Member]) -> frozenset[Address | Network]:
    """Return all addresses of all members."""
    return frozenset().union(*(member.all_addresses() for member in members))
