"""
The switch of a world: one bridge, in a namespace of its own, and the wires from it to the hosts.

Every veth pair is created between that namespace and a host's, so the machine's own network never
has a link, an address or a rule of the lab, and two worlds can use the same addresses.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from lab.errors import CommandFailed
from lab.network.address import NETWORK_V4, NETWORK_V6, Addresses
from lab.network.namespace import Namespace

_BRIDGE = "bridge"


@dataclass(frozen=True, slots=True)
class Switch:
    """The one layer 2 network of a world."""

    namespace: Namespace

    def create(self) -> None:
        self.namespace.create()
        self.namespace.batch(
            "link set lo up",
            # Without snooping, IPv6 neighbour discovery needs no querier and works at once.
            f"link add {_BRIDGE} type bridge stp_state 0 forward_delay 0 mcast_snooping 0",
            f"link set {_BRIDGE} up",
        )

    def plug(self, there: Namespace, addresses: Addresses) -> None:
        """Give a namespace an interface eth0 with its addresses, on the switch."""
        port = addresses.port
        self.namespace.batch(
            f"link add {port} type veth peer name eth0 netns {there.name}",
            f"link set {port} master {_BRIDGE} up",
        )
        there.batch(
            "link set lo up",
            "link set eth0 up",
            f"address add {addresses.v4}/{NETWORK_V4.prefixlen} dev eth0",
            # Duplicate address detection would keep the address back for a second.
            f"address add {addresses.v6}/{NETWORK_V6.prefixlen} dev eth0 nodad",
        )

    def unplug(self, addresses: Addresses) -> None:
        """Remove the wire at once; the kernel removes that of a deleted namespace later."""
        with contextlib.suppress(CommandFailed):
            self.namespace.batch(f"link delete {addresses.port}")

    def cut(self, addresses: Addresses) -> None:
        """Drop every packet to and from there silently, as a broken network does."""
        self.namespace.batch(f"link set {addresses.port} down")

    def reconnect(self, addresses: Addresses) -> None:
        """Undo :meth:`cut`."""
        self.namespace.batch(f"link set {addresses.port} up")
