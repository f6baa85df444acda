"""Fills connection tracking of a network namespace, with entries that nothing evicts."""

from __future__ import annotations

import socket
import struct
from pathlib import Path

from lab.network.namespace import Namespace

_NEW = 1 << 8
_REQUEST_CREATE = 0x1 | 0x400
_NESTED = 0x8000
_STATUS = 2 | 4 | 8
"""A reply was seen, assured, confirmed."""
_UDP = 17
_AT_ONCE = 500
_MARKS = (b"\xaa\xbb", b"\xcc\xdd")
"""Where the two ports are written."""


def most() -> int:
    """How many entries a namespace may have."""
    return int(Path("/proc/sys/net/netfilter/nf_conntrack_max").read_text())


def fill(namespace: Namespace) -> None:
    """Make more entries than there may be; they are gone with the next flush."""
    message = _message()
    places = [[at for at in range(len(message)) if message[at : at + 2] == mark] for mark in _MARKS]
    with namespace.entered():
        sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
    with sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        batch = bytearray(message * _AT_ONCE)
        for first in range(0, most() + _AT_ONCE, _AT_ONCE):
            for number in range(_AT_ONCE):
                for port, at in zip(divmod(first + number, 60_000), places, strict=True):
                    for place in at:
                        struct.pack_into("!H", batch, number * len(message) + place, port + 1)
            sock.send(batch)


def _message() -> bytes:
    body = struct.pack("=BBH", socket.AF_INET, 0, 0)
    here, there = socket.inet_aton("192.0.2.1"), socket.inet_aton("192.0.2.2")
    body += _tuple(1, here, there, *_MARKS)
    body += _tuple(2, there, here, *reversed(_MARKS))
    body += _attribute(3, struct.pack("!I", _STATUS))
    body += _attribute(7, struct.pack("!I", 3600))
    return struct.pack("=IHHII", 16 + len(body), _NEW, _REQUEST_CREATE, 0, 0) + body


def _tuple(kind: int, source: bytes, target: bytes, sport: bytes, dport: bytes) -> bytes:
    addresses = _attribute(1, source) + _attribute(2, target)
    ports = _attribute(1, bytes([_UDP])) + _attribute(2, sport) + _attribute(3, dport)
    return _attribute(
        kind | _NESTED, _attribute(1 | _NESTED, addresses) + _attribute(2 | _NESTED, ports)
    )


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + b"\0" * (-len(value) % 4)
