"""IP addresses and networks as text, in the one form in which the kernel's tools print them."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

REFERENCE = "k8s://"
PARTS = ("v4", "v6", "v4_net", "v6_net")

_FAMILIES = {"v4": socket.AF_INET, "v6": socket.AF_INET6}


@dataclass(frozen=True)
class Content:
    """The entries of one named set; networks do not overlap, and none is a single address."""

    v4: frozenset[str] = frozenset()
    v6: frozenset[str] = frozenset()
    v4_net: frozenset[str] = frozenset()
    v6_net: frozenset[str] = frozenset()

    def parts(self) -> dict[str, frozenset[str]]:
        """Return the four parts by the suffix of the kernel set that holds each."""
        return {"v4": self.v4, "v6": self.v6, "v4_net": self.v4_net, "v6_net": self.v6_net}

    def entries(self) -> frozenset[str]:
        """Return the addresses and networks of both families."""
        return self.v4 | self.v6 | self.v4_net | self.v6_net

    def matches(self, address: str) -> bool:
        """Whether a packet from an address matches: the address itself, or a network around it."""
        if address in self.v4 or address in self.v6:
            return True
        parsed = ipaddress.ip_address(address)
        networks = self.v4_net if parsed.version == 4 else self.v6_net
        return any(parsed in ipaddress.ip_network(network) for network in networks)

    def to_dict(self) -> dict[str, list[str]]:
        """Return the parts as JSON can hold them."""
        return {name: sorted(part) for name, part in self.parts().items()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Content:
        """Read what ``to_dict`` returned."""
        return cls(**{name: frozenset(part) for name, part in data.items()})


class InvalidAddress(ValueError):
    """A value is neither an IP address nor a network."""


def canonical(text: str) -> tuple[str, str]:
    """Return the family of an address, v4 or v6, and the address as the kernel's tools print it."""
    # Many times faster than ipaddress, and as strict: it refuses 010.0.0.1 and fe80::1%eth0.
    family = "v6" if ":" in text else "v4"
    number = _FAMILIES[family]
    try:
        packed = socket.inet_pton(number, text)
    except (OSError, ValueError, TypeError) as exc:
        raise InvalidAddress(f"{text!r} is not an IP address") from exc
    if family == "v6" and packed.startswith(b"\0" * 10 + b"\xff\xff"):
        raise InvalidAddress(f"{text!r} is an IPv4-mapped address; write the IPv4 address")
    return family, socket.inet_ntop(number, packed)


def canonical_network(text: str) -> tuple[str, str]:
    """Return the part that holds a network, and its canonical form; /32 and /128 are addresses."""
    try:
        parsed = ipaddress.ip_network(text)
    except ValueError as exc:
        raise InvalidAddress(f"{text!r} is not a network: {exc}") from exc
    if parsed.prefixlen == parsed.max_prefixlen:
        return canonical(str(parsed.network_address))
    # Not ipaddress's text: it writes ::ffff:0:0/96 in another form than the kernel's tools do.
    family, first = canonical(str(parsed.network_address))
    return f"{family}_net", f"{first}/{parsed.prefixlen}"


def parse(items: Iterable[object]) -> Content:
    """Read a list of addresses and networks; raise InvalidAddress for the first wrong item."""
    parts = _parts(items)
    for kind in ("v4_net", "v6_net"):
        if parts[kind]:
            networks = [ipaddress.ip_network(text) for text in parts[kind]]
            # The kernel refuses networks that overlap.
            joined = ipaddress.collapse_addresses(networks)  # type: ignore[type-var]
            parts[kind] = {canonical_network(str(network))[1] for network in joined}
    return Content(**{kind: frozenset(part) for kind, part in parts.items()})


def parse_separately(items: Iterable[object]) -> frozenset[str]:
    """Read a list in the same way but join no networks: each entry is the source of one rule."""
    return frozenset().union(*_parts(items).values())


def _parts(items: Iterable[object]) -> dict[str, set[str]]:
    parts: dict[str, set[str]] = {"v4": set(), "v6": set(), "v4_net": set(), "v6_net": set()}
    add_v4, to_bytes = parts["v4"].add, socket.inet_pton
    for item in items:
        if type(item) is str and ":" not in item and "/" not in item:
            # The common case, kept fast: what inet_pton takes for IPv4 is already canonical.
            try:
                to_bytes(socket.AF_INET, item)
            except (OSError, ValueError) as exc:
                raise InvalidAddress(f"{item!r} is not an IP address") from exc
            add_v4(item)
            continue
        if not isinstance(item, str):
            raise InvalidAddress(f"{item!r} is not an IP address; write it in quotes")
        kind, text = canonical_network(item) if "/" in item else canonical(item)
        parts[kind].add(text)
    return parts


def find_references(value: object) -> list[str]:
    """Return every text in a value that still holds a reference: the master did not resolve it."""
    if isinstance(value, str):
        return [value] if REFERENCE in value else []
    if isinstance(value, Mapping):
        return [text for pair in value.items() for part in pair for text in find_references(part)]
    if isinstance(value, (list, tuple)):
        found: list[str] = []
        for item in value:
            if type(item) is not str:
                found += find_references(item)
            elif REFERENCE in item:
                found.append(item)
        return found
    return []
