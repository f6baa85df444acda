"""The address plan, the same in every world."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from lab.errors import LabError

NETWORK_V4 = IPv4Network("10.77.0.0/16")
NETWORK_V6 = IPv6Network("fd77::/48")

# Third byte of the IPv4 address and fourth group of the IPv6 address.
CONTROL, MINIONS, NODES, OTHERS = range(4)

NODES_V4 = IPv4Network("10.77.2.0/24")
NODES_V6 = IPv6Network("fd77:0:0:2::/64")

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Addresses:
    """The place of one host in the plan: a group, a number, and so an address of each family."""

    group: int
    number: int

    @property
    def v4(self) -> IPv4Address:
        return NETWORK_V4[self.group * 256 + self.number]

    @property
    def v6(self) -> IPv6Address:
        return NETWORK_V6[(self.group << 64) + self.number]

    @property
    def port(self) -> str:
        """Name of the switch's port for this host; a kernel name has at most 15 characters."""
        return f"p{self.group}.{self.number}"

    def __str__(self) -> str:
        return f"{self.v4} {self.v6}"


MASTER = Addresses(CONTROL, 1)
KUBE = Addresses(CONTROL, 2)
OFFICE = Addresses(OTHERS, 1)
STRANGER = Addresses(OTHERS, 2)


def master(number: int) -> Addresses:
    """The address of the master, and of master2, master3, ..."""
    return MASTER if number == 1 else Addresses(CONTROL, 10 + number)


def minion(number: int) -> Addresses:
    """The address of minion1, minion2, ..."""
    return Addresses(MINIONS, number)


def node(address: str) -> Addresses:
    """The addresses of a node host with this IPv4 address."""
    try:
        parsed = IPv4Address(address)
    except ValueError as exc:
        raise LabError(f"{address!r} is not an IPv4 address") from exc
    number = int(parsed) - int(NODES_V4.network_address)
    if not 1 <= number <= 254:
        raise LabError(f"{address} is not an address for nodes: use one of {NODES_V4}")
    return Addresses(NODES, number)


def free_node(taken: Collection[Addresses]) -> Addresses:
    """The lowest free place among the node hosts."""
    for number in range(1, 255):
        if (place := Addresses(NODES, number)) not in taken:
            return place
    raise LabError(f"{NODES_V4} is full: a world has at most 254 node hosts")


def label(text: str, what: str, *, longest: int = 63) -> str:
    """A name that is safe in host names, paths and namespaces; otherwise an error that says why."""
    if not _LABEL.fullmatch(text) or len(text) > longest:
        raise LabError(
            f"{text!r} cannot be the name of a {what}: lower case letters, digits and hyphens,"
            f" at most {longest} characters"
        )
    return text
