"""
End the flows of removed addresses that no socket of this host can end: UDP, and through the host.

A rule that is deleted closes only what is new: a firewall that accepts established packets goes on
with a flow that connection tracking knows, for as long as packets come. Its entry is deleted, and
then the next packet is new again. Flows that the host itself began are left alone.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from . import intervals, netlink, traffic
from .connections import Scope
from .intervals import Entries, Interest
from .traffic import Flow

_DELETE = 1 << 8 | 2
_REQUEST_ACK = 0x5
_ORIGINAL, _ID, _ZONE = 1, 12, 18
_NESTED = 0x8000
_NOT_FOUND = 2
_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
_NAMES = {6: "tcp", 17: "udp"}
_TCP, _UDP = 6, 17


@dataclass(frozen=True)
class Found:
    """One flow of a removed address."""

    entry: str
    flow: Flow
    family: int
    attributes: Mapping[int, bytes]
    port: int
    """The port of the service, as the client sees it."""

    def __str__(self) -> str:
        return f"flow {_NAMES[self.flow.protocol]} {self.port}"


def end(removed: Mapping[str, Scope]) -> dict[str, str]:
    """
    End the flows of removed addresses; return those that go on, by address.

    Raises OSError where connection tracking cannot be read.
    """
    if not removed or not traffic.is_tracking():
        return {}
    found = list(_find(removed))
    if not found:
        return {}
    with netlink.connect() as sock:
        for one in found:
            _delete(sock, one)
    return {one.entry: str(one) for one in _find(removed)}


def _find(removed: Mapping[str, Scope]) -> Iterator[Found]:
    wanted = list(removed)
    index, interest = Entries(wanted), Interest(wanted)
    versions = {one.version for entry in wanted if (one := intervals.parse(entry))}
    local, listening = traffic.local_addresses(), traffic.listening_udp()
    for version in sorted(versions):
        pick = traffic.pick(version, interest)
        family = _FAMILIES[version]
        for _, data in netlink.dump(netlink.FLOW, family=family, pick=pick):
            flow = traffic.parse(data)
            if flow is None or flow.protocol not in _NAMES:
                continue
            end_of, port = _service(flow, local, listening)
            if end_of is None:
                continue
            # A rule in a forward chain has the port behind a published one.
            ports = {port, traffic.reply_port(data)}
            for _, entry in index.overlapping(end_of):
                if any(_covers(removed[entry], flow.protocol, one) for one in ports):
                    yield Found(entry, flow, family, data, port)


def _service(
    flow: Flow, local: set[str], listening: set[int]
) -> tuple[intervals.Interval | None, int]:
    """Return the client of a flow and the port of its service; None where the host began it."""
    here = str(flow.answered_by) in local
    if str(flow.source) not in local:
        # The socket of a TCP connection to this host is ended by itself.
        return (None, 0) if here and flow.protocol == _TCP else (flow.source, flow.port)
    # The service sent last, and the entry was made in reverse.
    reverse = flow.protocol == _UDP and flow.source_port in listening
    return (flow.destination, flow.source_port) if reverse else (None, 0)


def _covers(scope: Scope, protocol: int, port: int) -> bool:
    return scope.ports is None or any(
        name in ("", _NAMES[protocol]) and first <= port <= last
        for name, first, last in scope.ports
    )


def _delete(sock: socket.socket, one: Found) -> None:
    """Delete one entry; it may have ended by itself meanwhile."""
    asked = netlink.attribute(_ORIGINAL | _NESTED, one.attributes[_ORIGINAL])
    for number in (_ID, _ZONE):
        if number in one.attributes:
            asked += netlink.attribute(number, one.attributes[number])
    header = struct.pack("=IHHII", 20 + len(asked), _DELETE, _REQUEST_ACK, 1, 0)
    sock.send(header + bytes([one.family, 0, 0, 0]) + asked)
    (code,) = struct.unpack_from("=i", sock.recv(4096).ljust(20, b"\0"), 16)
    if code and -code != _NOT_FOUND:
        raise OSError(-code, "the kernel does not end it")
