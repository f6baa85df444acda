"""Addresses and networks in canonical form: the only text that may reach a firewall."""

from __future__ import annotations

import ipaddress
from bisect import bisect_right
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# No node is reachable at these: RFC 1122, 3927, 5771, 4291, 6890.
RESERVED_NETWORKS: tuple[Network, ...] = tuple(
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "224.0.0.0/4",
        "240.0.0.0/4",
        "::/128",
        "::1/128",
        "::ffff:0:0/96",
        "fe80::/10",
        "ff00::/8",
    )
)


def address(value: object) -> Address:
    """
    Return one IP address read from a configuration, a pillar or a Node object.

    Raises :class:`ValueError` for anything else: leading zeros, zone ids, prefixes, white space,
    numbers. The message says what is allowed.
    """
    if isinstance(value, str) and "%" not in value:
        try:
            return ipaddress.ip_address(value)
        except ValueError:
            pass
    raise ValueError("an IP address such as 192.0.2.10 or 2001:db8::10")


def network(value: object) -> Network:
    """
    Return one network read from text; a single address becomes a network of one address.

    Raises :class:`ValueError` for host bits that are not zero; the message says what is allowed.
    """
    if isinstance(value, str) and "%" not in value:
        try:
            return ipaddress.ip_network(value)
        except ValueError:
            pass
    raise ValueError("a network such as 192.0.2.0/24 or 2001:db8::/64 (host bits zero)")


def within(item: Address | Network, networks: Iterable[Network]) -> bool:
    """Whether an address or a whole network lies inside one of the networks."""
    return any(_covers(outer, item) for outer in networks)


def overlaps(item: Address | Network, networks: Iterable[Network]) -> bool:
    """Whether an address, or any part of a network, lies inside one of the networks."""
    return any(
        outer.version == item.version
        and (item in outer if isinstance(item, Address) else outer.overlaps(item))
        for outer in networks
    )


class AddressRanges:
    """The union of some networks; a lookup is one binary search, however many there are."""

    def __init__(self, networks: Iterable[Network]) -> None:
        self._ranges: dict[int, tuple[list[int], list[int]]] = {4: ([], []), 6: ([], [])}
        for outer in sorted(networks, key=sort_key):
            firsts, lasts = self._ranges[outer.version]
            first, last = int(outer.network_address), int(outer.broadcast_address)
            if not lasts or first > lasts[-1]:
                firsts.append(first)
                lasts.append(last)
            else:
                lasts[-1] = max(lasts[-1], last)

    def __contains__(self, item: Address) -> bool:
        firsts, lasts = self._ranges[item.version]
        number = int(item)
        index = bisect_right(firsts, number)
        return index > 0 and number <= lasts[index - 1]


def _covers(outer: Network, item: Address | Network) -> bool:
    if isinstance(item, Address):
        return item.version == outer.version and item in outer
    if isinstance(item, IPv4Network):
        return isinstance(outer, IPv4Network) and item.subnet_of(outer)
    return isinstance(outer, IPv6Network) and item.subnet_of(outer)


def sort_key(item: Address | Network) -> tuple[int, int, int]:
    """Return a sort key: IPv4 before IPv6, then by number, then the wider network first."""
    if isinstance(item, Address):
        return item.version, int(item), item.max_prefixlen
    return item.version, int(item.network_address), item.prefixlen


def sort_addresses(items: Iterable[Address | Network]) -> list[Address | Network]:
    """Return items sorted by :func:`sort_key`; thousands of addresses take a few milliseconds."""
    unsorted = list(items)
    ipv4 = [item for item in unsorted if type(item) is IPv4Address]
    ipv6 = [item for item in unsorted if type(item) is IPv6Address]
    if len(ipv4) + len(ipv6) < len(unsorted):
        return sorted(unsorted, key=sort_key)
    return [*sorted(ipv4, key=int), *sorted(ipv6, key=int)]
