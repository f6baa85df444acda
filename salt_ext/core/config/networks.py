"""Networks in the configuration: read strictly, and as far as possible where they are mistaken."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Network, IPv6Network

from salt_ext.core.cluster.address import RESERVED_NETWORKS, Network, network
from salt_ext.core.config.options import PartlyRead, list_of

EVERYTHING: tuple[Network, ...] = (IPv4Network("0.0.0.0/0"), IPv6Network("::/0"))

_MAPPED = IPv6Network("::ffff:0:0/96")
_NOT_PUBLIC = (
    *RESERVED_NETWORKS,
    *map(
        ipaddress.ip_network,
        ("10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"),
    ),
)
_GLOBAL_IPV6 = IPv6Network("2000::/3")
"""All of the public addresses that IANA has given out, of IPv6."""

_WIDE_BITS = {4: 24, 6: 112}
"""A /8 of IPv4 and a /16 of IPv6: more than any one owner of a cluster has."""

_MAX_ITEMS = 100_000
_IPV4 = re.compile(r"(?<![\d.])\d{1,3}(?:\.\d{1,3}){3}(?![\d.])")


def plain_network(value: object) -> Network:
    """Read one network; an IPv4 network inside of IPv6 notation would match no packet."""
    read = network(value)
    if isinstance(read, IPv6Network) and read.subnet_of(_MAPPED):
        raise ValueError(f"the IPv4 network {_unmapped(read)} without ::ffff:")
    return read


def denied_networks(value: object) -> tuple[Network, ...]:
    """Read ``denied_networks``; a mistake is raised with the networks that could be read."""
    try:
        return list_of(plain_network)(value)
    except ValueError as exc:
        raise PartlyRead(str(exc), readable(value)) from None


def allowed_networks(value: object) -> tuple[Network, ...]:
    """Read ``allowed_networks``; refuse a list that allows every address of IPv4 or IPv6."""
    networks = list_of(plain_network)(value)
    for version in (4, 6):
        if _allows_all(networks, version):
            raise ValueError(
                "the networks that your nodes are in, such as 192.0.2.0/24 or 2001:db8::/64; "
                f"this list allows every IPv{version} address"
            )
    return networks


def too_wide(networks: Iterable[Network]) -> str:
    """Return what is wrong with networks that are wider than those of any cluster; else ""."""
    listed = list(networks)
    for version, bits in _WIDE_BITS.items():
        private = _size(_NOT_PUBLIC, version)
        public = _size((*listed, *_NOT_PUBLIC), version) - private
        if public >= 2**bits:
            prefix = (32 if version == 4 else 128) - bits
            return (
                f"allowed_networks has as many public IPv{version} addresses as a /{prefix}, or "
                "more: a node can have the firewalls opened for each of them"
            )
    return ""


def readable(value: object) -> tuple[Network, ...]:
    """
    Return the networks that a mistaken value has, whatever its type.

    Of a network with host bits this is only the address, since that is denied in any reading.
    """
    found: dict[Network, None] = {}
    for text in _texts(value):
        for token in re.split(r"[\s,;]+", text):
            found.update(dict.fromkeys(_token(token.strip("'\"[](){}"))))
    return tuple(found)


def _token(token: str) -> list[Network]:
    try:
        read = network(token)
    except ValueError:
        pass
    else:
        mapped = isinstance(read, IPv6Network) and read.subnet_of(_MAPPED)
        return [_unmapped(read) if mapped else read]  # type: ignore[arg-type]
    first, _, last = token.partition("-")
    try:
        ends = ipaddress.ip_address(first), ipaddress.ip_address(last)
        return [*ipaddress.summarize_address_range(*ends)]
    except (ValueError, TypeError):
        pass
    single = [token.partition("/")[0], *_IPV4.findall(token)]
    networks = []
    for text in dict.fromkeys(single):
        try:
            networks.append(network(text))
        except ValueError:
            continue
    return networks


def _texts(value: object) -> Iterator[str]:
    """Yield the texts in a value of any shape, also keys; each container once."""
    stack, seen = [value], 0
    visited: set[int] = set()
    while stack and seen < _MAX_ITEMS:
        item = stack.pop()
        seen += 1
        if isinstance(item, str):
            yield item
        elif isinstance(item, (bytes, bytearray)):
            yield item.decode("ascii", "replace")
        elif isinstance(item, (Mapping, list, tuple, set, frozenset)) and id(item) not in visited:
            visited.add(id(item))
            stack.extend(item)
            if isinstance(item, Mapping):
                stack.extend(item.values())


def _unmapped(read: IPv6Network) -> IPv4Network:
    address = int(read.network_address) & 0xFFFF_FFFF
    return IPv4Network((address, read.prefixlen - 96))


def _allows_all(networks: Iterable[Network], version: int) -> bool:
    """Whether the networks have every address of a version that a node can have."""
    listed = list(networks)
    if version == 6:
        return _size((*listed, _GLOBAL_IPV6), 6) == _size(listed, 6) > 0
    return _size((*listed, *RESERVED_NETWORKS), 4) == 2**32


def _size(networks: Iterable[Network], version: int) -> int:
    """Return the number of addresses in the union of the networks of one version."""
    listed = list(networks)
    if version == 4:
        ipv4 = [item for item in listed if isinstance(item, IPv4Network)]
        return sum(item.num_addresses for item in ipaddress.collapse_addresses(ipv4))
    ipv6 = [item for item in listed if isinstance(item, IPv6Network)]
    return sum(item.num_addresses for item in ipaddress.collapse_addresses(ipv6))
