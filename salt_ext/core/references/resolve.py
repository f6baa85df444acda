"""The addresses that a reference means in a snapshot."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from salt_ext.core.cluster.address import Address, Network, in_order
from salt_ext.core.cluster.member import Limits, Member
from salt_ext.core.cluster.node import AddressType
from salt_ext.core.cluster.snapshot import Snapshot
from salt_ext.core.references.reference import Reference
from salt_ext.core.references.selector import Selector


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """What a reference means where it does not say."""

    types: tuple[AddressType, ...] = (AddressType.INTERNAL,)
    ready_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeGroup:
    """A choice of nodes that the configuration makes once for everybody."""

    labels: Selector = Selector()
    types: tuple[AddressType, ...] | None = None
    family: int | None = None
    ready_only: bool | None = None


# The kernel drops what comes from a broadcast or multicast address before any firewall sees it.
PLACEHOLDERS = {4: ipaddress.ip_address("255.255.255.255"), 6: ipaddress.ip_address("ff00::")}


def select_members(
    snapshot: Snapshot,
    reference: Reference,
    defaults: Defaults,
    limits: Limits | None,
    group: NodeGroup = NodeGroup(),
) -> Iterator[tuple[Member, list[Address | Network]]]:
    """
    Yield the members that a reference means, each with the addresses that it means of them.

    ``limits`` are applied once more, so that networks that were taken out of the configuration
    are closed even before the next complete view; None while the configuration cannot be read.
    """
    types = reference.types or group.types or defaults.types
    family = reference.family or group.family
    wishes = (reference.ready_only, group.ready_only, defaults.ready_only)
    ready_only = next(wish for wish in wishes if wish is not None)
    refused = limits.refuse if limits else _nothing
    selectors = [one for one in (reference.labels, group.labels) if one.requirements]
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
                    if refused(item) is None
                ],
            )


def _nothing(_item: Address | Network) -> None:
    return None


def resolve(
    snapshot: Snapshot,
    reference: Reference,
    defaults: Defaults,
    limits: Limits | None,
    group: NodeGroup = NodeGroup(),
) -> tuple[str, ...]:
    """Return the canonical addresses that a reference means: sorted, without duplicates."""
    found = {
        item
        for _, items in select_members(snapshot, reference, defaults, limits, group)
        for item in items
    }
    if not found and reference.placeholder:
        found = {PLACEHOLDERS[reference.family or group.family or 4]}
    ordered = in_order(found)
    if reference.as_network:
        return tuple(str(ipaddress.ip_network(item)) for item in ordered)
    return tuple(str(item) for item in ordered)


def digest(served: Mapping[str, Iterable[str]]) -> str:
    """Return one short text for what references were served, equal when the addresses are."""
    state = hashlib.sha256()
    for text in sorted(served):
        state.update("\0".join((text, *served[text])).encode())
        state.update(b"\n")
    return state.hexdigest()[:16]
