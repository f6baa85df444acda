"""Resolves a reference: the addresses that it means in a snapshot."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from salt_ext.core.cluster.address import Address, Network, sort_addresses
from salt_ext.core.cluster.member import Limits, Member
from salt_ext.core.cluster.node import AddressType
from salt_ext.core.cluster.snapshot import Snapshot
from salt_ext.core.references.reference import Reference
from salt_ext.core.references.selector import Selector


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """A cluster's defaults for parameters that a reference and its group omit."""

    types: tuple[AddressType, ...] = (AddressType.INTERNAL,)
    ready_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeGroup:
    """A named selection of nodes from the configuration; None means the cluster's default."""

    labels: Selector = Selector()
    types: tuple[AddressType, ...] | None = None
    family: int | None = None
    ready_only: bool | None = None


# The kernel drops packets from a broadcast or multicast address before any firewall rule.
PLACEHOLDERS = {4: ipaddress.ip_address("255.255.255.255"), 6: ipaddress.ip_address("ff00::")}


def select_members(
    snapshot: Snapshot,
    reference: Reference,
    defaults: Defaults,
    limits: Limits | None,
    group: NodeGroup = NodeGroup(),
) -> Iterator[tuple[Member, list[Address | Network]]]:
    """
    Yield the members that a reference selects, each with its selected addresses.

    ``limits`` are applied again, so that networks removed from the configuration close before the
    next complete view; None while the configuration cannot be read.
    """
    types = reference.types or group.types or defaults.types
    family = reference.family or group.family
    candidates = (reference.ready_only, group.ready_only, defaults.ready_only)
    ready_only = next(value for value in candidates if value is not None)
    reject_reason = limits.reject_reason if limits else _accept
    selectors = [selector for selector in (reference.labels, group.labels) if selector.requirements]
    for member in snapshot.members.values():
        if (member.ready or not ready_only) and all(
            selector.matches(member.labels) for selector in selectors
        ):
            yield (
                member,
                [
                    item
                    for kind in types
                    for item in member.addresses.get(kind, ())
                    if family in (None, item.version)
                    if reject_reason(item) is None
                ],
            )


def _accept(_item: Address | Network) -> None:
    return None


def resolve(
    snapshot: Snapshot,
    reference: Reference,
    defaults: Defaults,
    limits: Limits | None,
    group: NodeGroup = NodeGroup(),
) -> tuple[str, ...]:
    """Return the addresses that a reference means: canonical, sorted, without duplicates."""
    selected = {
        item
        for _, items in select_members(snapshot, reference, defaults, limits, group)
        for item in items
    }
    if not selected and reference.placeholder:
        selected = {PLACEHOLDERS[reference.family or group.family or 4]}
    ordered = sort_addresses(selected)
    if reference.as_network:
        return tuple(str(ipaddress.ip_network(item)) for item in ordered)
    return tuple(str(item) for item in ordered)


def digest(resolved: Mapping[str, Iterable[str]]) -> str:
    """Return 16 hex digits that identify references with their addresses."""
    sha256 = hashlib.sha256()
    for text in sorted(resolved):
        sha256.update("\0".join((text, *resolved[text])).encode())
        sha256.update(b"\n")
    return sha256.hexdigest()[:16]
