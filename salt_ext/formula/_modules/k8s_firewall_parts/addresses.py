"""Addresses and networks as text in the one form that the kernel's tools print them in."""

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
    """What a set holds; networks do not overlap, and none is a single address."""

    v4: frozenset[str] = frozenset()
    v6: frozenset[str] = frozenset()
    v4_net: frozenset[str] = frozenset()
    v6_net: frozenset[str] = frozenset()

    def parts(self) -> dict[str, frozenset[str]]:
        """Return the four parts by the suffix that the kernel's sets have."""
        return {"v4": self.v4, "v6": self.v6, "v4_net": self.v4_net, "v6_net": self.v6_net}

    def everything(self) -> frozenset[str]:
        """Return addresses and networks of both families."""
        return self.v4 | self.v6 | self.v4_net | self.v6_net

    def has(self, address: str) -> bool:
        """Whether an address is in it, by itself or in a network."""
        if address in self.v4 or address in self.v6:
            return True
        meant = ipaddress.ip_address(address)
        networks = self.v4_net if meant.version == 4 else self.v6_net
        return any(meant in ipaddress.ip_network(one) for one in networks)

    def to_dict(self) -> dict[str, list[str]]:
        """Return it as JSON can hold it."""
        return {name: sorted(part) for name, part in self.parts().items()}

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> Content:
        """Read what to_dict has given."""
        return cls(**{name: frozenset(part) for name, part in told.items()})


class NoAddress(ValueError):
    """What stands in the place of an address is none."""


def canonical(text: str) -> tuple[str, str]:
    """Return the family of an address, v4 or v6, and the address as the kernel's tools print it."""
    # Many times faster than ipaddress, and as strict: 010.0.0.1 and fe80::1%eth0 are none.
    family = "v6" if ":" in text else "v4"
    number = _FAMILIES[family]
    try:
        packed = socket.inet_pton(number, text)
    except (OSError, ValueError, TypeError) as exc:
        raise NoAddress(f"{text!r} is no address") from exc
    if family == "v6" and packed.startswith(b"\0" * 10 + b"\xff\xff"):
        raise NoAddress(f"{text!r} is an IPv4 address in IPv6, which no packet has")
    return family, socket.inet_ntop(number, packed)


def network(text: str) -> tuple[str, str]:
    """Return the family and the canonical form of a network, or of an address if it is one."""
    try:
        meant = ipaddress.ip_network(text)
    except ValueError as exc:
        raise NoAddress(f"{text!r} is no network: {exc}") from exc
    if meant.prefixlen == meant.max_prefixlen:
        return canonical(str(meant.network_address))
    # Not ipaddress's text: it writes ::ffff:0:0/96 in another form than the kernel's tools do.
    family, first = canonical(str(meant.network_address))
    return f"{family}_net", f"{first}/{meant.prefixlen}"


def content(items: Iterable[object]) -> Content:
    """Read a list of addresses and networks; raise NoAddress for the first that is neither."""
    parts = _parts(items)
    for kind in ("v4_net", "v6_net"):
        if parts[kind]:
            read = [ipaddress.ip_network(one) for one in parts[kind]]
            # The kernel refuses networks that overlap.
            joined = ipaddress.collapse_addresses(read)  # type: ignore[type-var]
            parts[kind] = {network(str(one))[1] for one in joined}
    return Content(**{kind: frozenset(part) for kind, part in parts.items()})


def each(items: Iterable[object]) -> frozenset[str]:
    """Read a list in the same way, and join no networks: each is what one rule has."""
    return frozenset().union(*_parts(items).values())


def _parts(items: Iterable[object]) -> dict[str, set[str]]:
    parts: dict[str, set[str]] = {"v4": set(), "v6": set(), "v4_net": set(), "v6_net": set()}
    plain, read_v4 = parts["v4"].add, socket.inet_pton
    for item in items:
        if type(item) is str and ":" not in item and "/" not in item:
            # Most are: what it takes for IPv4 at all is canonical.
            try:
                read_v4(socket.AF_INET, item)
            except (OSError, ValueError) as exc:
                raise NoAddress(f"{item!r} is no address") from exc
            plain(item)
            continue
        if not isinstance(item, str):
            raise NoAddress(f"{item!r} is no address; write it in quotes")
        kind, text = network(item) if "/" in item else canonical(item)
        parts[kind].add(text)
    return parts


def references(value: object) -> list[str]:
    """Return every text in a value that holds a reference which nobody has resolved."""
    if isinstance(value, str):
        return [value] if REFERENCE in value else []
    if isinstance(value, Mapping):
        return [text for pair in value.items() for one in pair for text in references(one)]
    if isinstance(value, (list, tuple)):
        found: list[str] = []
        for one in value:
            if type(one) is not str:
                found += references(one)
            elif REFERENCE in one:
                found.append(one)
        return found
    return []
