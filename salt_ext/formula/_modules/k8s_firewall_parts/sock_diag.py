"""
The TCP sockets of this host straight from the kernel, as ``ss`` lists them.

To start ``ss`` takes longer than all the rest of a run that changes one address.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from typing import NamedTuple

_SOCK_DIAG, _ALL_FAMILIES = 4, 18
"""The second asks for IPv4 and IPv6 in one walk over all sockets, which takes milliseconds."""
_REQUEST_DUMP = 0x301
_ERROR, _DONE = 2, 3
_TIMEOUT_SECONDS = 10.0
_BUFFER = 1 << 17
_HEADER = 16
_ID_AT = _HEADER + 4
_COOKIE_AT = _ID_AT + 40
_SIZES = {socket.AF_INET: 4, socket.AF_INET6: 16}

_SYN_RECV, _TIME_WAIT, _CLOSE, _LISTEN, _CLOSING = 3, 6, 7, 10, 11
LISTENING = 1 << _LISTEN
CONNECTED = sum(
    1 << state
    for state in range(1, _CLOSING + 1)
    if state not in (_SYN_RECV, _TIME_WAIT, _CLOSE, _LISTEN)
)
"""As ``ss`` has it without options."""


class Socket(NamedTuple):
    """One socket: its port here, its peer, and the number that no other has in one boot."""

    local_port: int
    peer: str
    peer_port: int
    identity: str
    """As ``ss -e`` prints it."""


def tcp(states: int) -> list[Socket]:
    """Return the TCP sockets in these states; raise OSError where the kernel does not list them."""
    return list(_dump(states))


def _dump(states: int) -> Iterator[Socket]:
    asked = bytes(52) + struct.pack("=II", states, 0)
    header = struct.pack("=IHHII", _HEADER + len(asked), _ALL_FAMILIES, _REQUEST_DUMP, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _SOCK_DIAG) as sock:
        sock.settimeout(_TIMEOUT_SECONDS)
        sock.send(header + asked)
        done = False
        while not done:
            done, found = parse(sock.recv(_BUFFER))
            yield from found


def parse(answer: bytes) -> tuple[bool, list[Socket]]:
    """Return whether an answer is the last one, and its sockets; raise OSError for an error."""
    found: list[Socket] = []
    at = 0
    while at + _HEADER <= len(answer):
        size, kind = struct.unpack_from("=IH", answer, at)
        if kind in (_ERROR, _DONE):
            (code,) = struct.unpack_from("=i", answer, at + _HEADER)
            if code < 0:
                raise OSError(-code, os.strerror(-code))
            return True, found
        family = answer[at + _HEADER]
        port, peer_port, peer = struct.unpack_from("!HH16x16s", answer, at + _ID_AT)
        low, high = struct.unpack_from("=II", answer, at + _COOKIE_AT)
        text = socket.inet_ntop(family, peer[: _SIZES[socket.AddressFamily(family)]])
        found.append(Socket(port, text, peer_port, f"{high << 32 | low:x}"))
        at += max((size + 3) & ~3, _HEADER)
    return False, found
