"""Which of a node's claimed addresses may be opened in a firewall."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from ipaddress import IPv4Network, IPv6Network
from typing import NamedTuple

from salt_ext.core.cluster.address import (
    Address,
    AddressRanges,
    Network,
    address,
    network,
    overlaps,
    sort_key,
    within,
)
from salt_ext.core.cluster.node import AddressType, Node

Claim = tuple[AddressType, Address | Network]
"""An accepted address, and the field that it comes from."""


class RejectReason(str, Enum):
    """Why a claimed address is rejected."""

    UNREADABLE = "unreadable"
    OUTSIDE = "outside allowed_networks"
    DENIED = "inside denied_networks"
    TOO_WIDE = "podCIDR too wide"
    TOO_WIDE_IPV6 = "IPv6 podCIDR too wide"


class Rejected(NamedTuple):
    """One rejected claim; its text is what the kubelet wrote."""

    reason: RejectReason
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A node of the cluster with its accepted addresses."""

    name: str
    uid: str
    addresses: Mapping[AddressType, tuple[Address | Network, ...]]
    labels: Mapping[str, str] = field(default_factory=dict)
    ready: bool = False

    def claims(self) -> frozenset[Claim]:
        """Return the addresses of all types, each with its type."""
        return frozenset((kind, item) for kind, items in self.addresses.items() for item in items)

    def all_addresses(self) -> frozenset[Address | Network]:
        """Return the addresses of all types."""
        return frozenset(item for items in self.addresses.values() for item in items)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits for the addresses of one cluster's nodes."""

    allowed: tuple[Network, ...]
    denied: tuple[Network, ...]
    addresses_per_node: int = 16
    """A node that claims more is held: none of its new addresses count."""
    min_prefix_ipv4: int = 20
    """Shortest accepted prefix of a podCIDR, in bits."""
    min_prefix_ipv6: int = 56

    @cached_property
    def _allowed(self) -> AddressRanges:
        return AddressRanges(self.allowed)

    @cached_property
    def _denied(self) -> AddressRanges:
        return AddressRanges(self.denied)

    def reject_reason(self, item: Address | Network) -> RejectReason | None:
        """Return why an address or a podCIDR is rejected, None when it is accepted."""
        if isinstance(item, (IPv4Network, IPv6Network)):
            return self._network_reject_reason(item)
        if item in self._denied:
            return RejectReason.DENIED
        return None if item in self._allowed else RejectReason.OUTSIDE

    def _network_reject_reason(self, item: Network) -> RejectReason | None:
        if overlaps(item, self.denied):
            return RejectReason.DENIED
        if not within(item, self.allowed):
            return RejectReason.OUTSIDE
        min_prefix = self.min_prefix_ipv4 if item.version == 4 else self.min_prefix_ipv6
        if item.prefixlen >= min_prefix:
            return None
        return RejectReason.TOO_WIDE if item.version == 4 else RejectReason.TOO_WIDE_IPV6


def admit(node: Node, limits: Limits) -> tuple[Member, list[Rejected]]:
    """Return the node as a member, and each rejected claim with its reason."""
    rejected: list[Rejected] = []
    addresses: dict[AddressType, tuple[Address | Network, ...]] = {}
    for kind, texts in node.claims():
        accepted: set[Address | Network] = set()
        for text in texts:
            try:
                item = network(text) if kind is AddressType.POD_CIDR else address(text)
            except ValueError:
                rejected.append(Rejected(RejectReason.UNREADABLE, text))
                continue
            reason = limits.reject_reason(item)
            if reason:
                rejected.append(Rejected(reason, text))
            else:
                accepted.add(item)
        if accepted:
            addresses[kind] = tuple(sorted(accepted, key=sort_key))
    member = Member(
        name=node.name, uid=node.uid, addresses=addresses, labels=node.labels, ready=node.ready
    )
    return member, rejected
