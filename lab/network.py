"""
The wires of a world: named network namespaces, and one switch that connects them.

The bridge lives in a namespace of its own and every veth pair is created between that one and a
host's, so the machine's own network never has a link, an address or a rule of ours, and two worlds
use the same addresses without knowing of each other.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lab.address import NETWORK_V4, NETWORK_V6, Addresses
from lab.errors import CommandFailed
from lab.process import end, in_namespace

NAMESPACES = Path("/run/netns")

_PREFIX = "k8s-lab"
_BRIDGE = "bridge"
_CLONE_NEWNET = 0x40000000


def run(argv: list[str], *, script: str | None = None) -> str:
    """Run a short command of the machine; its output, or CommandFailed."""
    done = subprocess.run(
        argv, input=script, capture_output=True, text=True, timeout=120, check=False
    )
    if done.returncode:
        raise CommandFailed(argv, done.returncode, done.stderr or done.stdout)
    return done.stdout


@dataclass(frozen=True, slots=True)
class Namespace:
    """A named network namespace, which may or may not exist."""

    name: str

    @property
    def path(self) -> Path:
        return NAMESPACES / self.name

    def create(self) -> None:
        run(["ip", "netns", "add", self.name])

    def batch(self, *lines: str) -> None:
        """Run several `ip` commands in the namespace with one process."""
        run(["ip", "-n", self.name, "-batch", "-"], script="\n".join(lines) + "\n")

    def remove(self) -> None:
        """End everything that runs in it and take it away; nothing to do is fine."""
        while running := in_namespace(self.path):
            end(running)
        if self.path.exists():
            run(["ip", "netns", "delete", self.name])

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """
        Let the calling thread open its sockets in this namespace.

        A socket stays where it was opened, so a client that keeps its connection may be used
        outside, but only inside can it connect again.
        """
        libc = ctypes.CDLL(None, use_errno=True)

        def enter(handle: int) -> None:
            if libc.setns(handle, _CLONE_NEWNET):
                code = ctypes.get_errno()
                raise OSError(code, os.strerror(code), self.name)

        before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        try:
            there = os.open(self.path, os.O_RDONLY)
            try:
                enter(there)
            finally:
                os.close(there)
            try:
                yield
            finally:
                enter(before)
        finally:
            os.close(before)


def of_world(world: str) -> list[Namespace]:
    """Every namespace of a world that exists, also of one that was only half made."""
    if not NAMESPACES.is_dir():
        return []
    return [Namespace(path.name) for path in sorted(NAMESPACES.glob(f"{_PREFIX}.{world}.*"))]


def with_namespaces() -> set[str]:
    """The names of the worlds that have namespaces."""
    found = NAMESPACES.glob(f"{_PREFIX}.*.*") if NAMESPACES.is_dir() else []
    return {path.name.split(".")[1] for path in found}


def namespace(world: str, host: str) -> Namespace:
    """The namespace of a host of a world."""
    return Namespace(f"{_PREFIX}.{world}.{host}")


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
        """Take the wire away, at once; the kernel removes a deleted namespace's only later."""
        with contextlib.suppress(CommandFailed):
            self.namespace.batch(f"link delete {addresses.port}")

    def cut(self, addresses: Addresses) -> None:
        """Let every packet to and from there vanish without a word, as a broken network does."""
        self.namespace.batch(f"link set {addresses.port} down")

    def mend(self, addresses: Addresses) -> None:
        self.namespace.batch(f"link set {addresses.port} up")
