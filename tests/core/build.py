"""Builders of the values that tests of the core begin with."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Any

from salt_ext.core.cluster.address import RESERVED_NETWORKS, Address, Network
from salt_ext.core.cluster.member import Limits, Member
from salt_ext.core.cluster.node import AddressType, Node
from salt_ext.core.cluster.snapshot import Snapshot

INTERNAL, EXTERNAL, POD_CIDR = AddressType.INTERNAL, AddressType.EXTERNAL, AddressType.POD_CIDR


def limits(*allowed: str, denied: tuple[str, ...] = (), **more: int) -> Limits:
    """Return limits; without ``allowed``, every address is allowed."""
    return Limits(
        allowed=tuple(ipaddress.ip_network(text) for text in allowed or ("0.0.0.0/0", "::/0")),
        denied=(*RESERVED_NETWORKS, *(ipaddress.ip_network(text) for text in denied)),
        **more,
    )


def node(name: str, *internal: str, uid: str = "", **fields: Any) -> Node:
    """Return a node as its kubelet reports it."""
    return Node(name=name, uid=uid or f"uid-{name}", internal=internal, **fields)


def member(
    name: str,
    *internal: str,
    uid: str = "",
    external: tuple[str, ...] = (),
    pod_cidrs: tuple[str, ...] = (),
    labels: Mapping[str, str] | None = None,
    ready: bool = True,
) -> Member:
    """Return a member with these accepted addresses."""
    addresses = {
        INTERNAL: tuple(ipaddress.ip_address(text) for text in internal),
        EXTERNAL: tuple(ipaddress.ip_address(text) for text in external),
        POD_CIDR: tuple(ipaddress.ip_network(text) for text in pod_cidrs),
    }
    return Member(
        name=name,
        uid=uid or f"uid-{name}",
        addresses={kind: items for kind, items in addresses.items() if items},
        labels=labels or {},
        ready=ready,
    )


def members(*listed: Member) -> dict[str, Member]:
    """Return members by name."""
    return {member.name: member for member in listed}


def addresses_of(listed: Iterable[Member]) -> frozenset[Address | Network]:
    """Return the addresses of all members."""
    return frozenset().union(*(member.all_addresses() for member in listed))


def snapshot(*listed: Member, cluster: str = "prod", revision: int = 1) -> Snapshot:
    """Return a view of a cluster as it is stored."""
    return Snapshot(
        cluster=cluster,
        revision=revision,
        identity="uid-of-kube-system",
        resource_version="100",
        observed_at=1_700_000_000.0,
        members=members(*listed),
    )
