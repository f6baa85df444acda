"""Ask the kernel's nftables without a program: one answer, or a dump of many."""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Iterator

TABLE, CHAIN, RULE, SET, ELEMENT, GENERATION = 1, 4, 7, 10, 13, 16
"""What can be asked for."""
INET, IPV4, IPV6 = 1, 2, 10

_NETFILTER = 12
_NFTABLES = 10 << 8
_REQUEST, _DUMP = 1, 0x300
_ERROR, _DONE = 2, 3
_INTERRUPTED = 0x10
_TIMEOUT_SECONDS = 1.0
_BUFFER = 1 << 17
_TRIES = 2


class NotFound(Exception):
    """The kernel does not have the object."""


class TooSlow(Exception):
    """The dump is longer than the time that it may take."""


def connect() -> socket.socket:
    """Return a socket to the nftables of this thread's network namespace."""
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETFILTER)
    sock.settimeout(_TIMEOUT_SECONDS)
    sock.bind((0, 0))
    return sock


def ask(
    sock: socket.socket, message: int, asked: bytes = b"", family: int = INET
) -> dict[int, bytes]:
    """Return the attributes of one object; raise NotFound where the kernel has none."""
    sock.send(_message(message, _REQUEST, asked, family))
    return parse_answer(sock.recv(_BUFFER))


def dump(
    message: int, asked: bytes = b"", family: int = 0, *, seconds: float = 60.0
) -> list[tuple[int, dict[int, bytes]]]:
    """Return the family and the attributes of every object; raise TooSlow after some time."""
    until = time.monotonic() + seconds
    for _ in range(_TRIES):
        found: list[tuple[int, dict[int, bytes]]] = []
        whole = True
        with connect() as sock:
            sock.send(_message(message, _REQUEST | _DUMP, asked, family))
            for flags, answer in _answers(sock, until):
                whole = whole and not flags & _INTERRUPTED
                found.append((answer[16], attributes(answer, 20)))
        if whole:
            break
        # Another program has changed something meanwhile: some may be doubled, some missing.
    return found


def messages(
    sock: socket.socket, message: int, asked: bytes = b"", family: int = 0
) -> tuple[bytes, bool]:
    """
    Return the messages of a dump one after the other, and whether nothing changed meanwhile.

    Many times faster than to take each apart, where there are very many.
    """
    sock.send(_message(message, _REQUEST | _DUMP, asked, family))
    found: list[bytes] = []
    whole = True
    while True:
        data = sock.recv(_BUFFER)
        at = 0
        while at + 16 <= len(data):
            size, kind, flags = struct.unpack_from("=IHH", data, at)
            whole = whole and not flags & _INTERRUPTED
            if kind in (_DONE, _ERROR):
                (code,) = struct.unpack_from("=i", data, at + 16)
                if code:
                    raise OSError(-code, os.strerror(-code))
                found.append(data[:at])
                return b"".join(found), whole
            at += max((size + 3) & ~3, 16)
        found.append(data)


def attribute(number: int, value: bytes) -> bytes:
    """Return an attribute as netlink has it."""
    return struct.pack("=HH", 4 + len(value), number) + value + b"\0" * (-len(value) % 4)


def name(number: int, text: str) -> bytes:
    """Return an attribute with a name."""
    return attribute(number, text.encode() + b"\0")


def parse_answer(answer: bytes) -> dict[int, bytes]:
    """Return the attributes of a message by their numbers."""
    size, kind = struct.unpack_from("=IH", answer)
    if kind == _ERROR:
        raise NotFound
    return attributes(answer[:size], 20)


def attributes(data: bytes, at: int = 0) -> dict[int, bytes]:
    """Return the attributes within some bytes by their numbers."""
    return dict(listed(data, at))


def listed(data: bytes, at: int = 0) -> Iterator[tuple[int, bytes]]:
    """Yield the attributes within some bytes, also those that have the same number."""
    size = len(data)
    while at + 4 <= size:
        length, number = struct.unpack_from("=HH", data, at)
        if length < 4:
            break
        yield number & 0x3FFF, data[at + 4 : at + length]
        at += (length + 3) & ~3


def text(value: bytes) -> str:
    """Return a name out of an attribute."""
    return value.rstrip(b"\0").decode(errors="replace")


def _message(message: int, flags: int, asked: bytes, family: int) -> bytes:
    header = struct.pack("=IHHII", 20 + len(asked), _NFTABLES | message, flags, message, 0)
    return header + struct.pack("=BBH", family, 0, 0) + asked


def _answers(sock: socket.socket, until: float) -> Iterator[tuple[int, bytes]]:
    while True:
        data = sock.recv(_BUFFER)
        at = 0
        while at + 20 <= len(data):
            size, kind, flags = struct.unpack_from("=IHH", data, at)
            if kind == _DONE:
                return
            if kind == _ERROR:
                raise NotFound
            yield flags, data[at : at + size]
            at += max((size + 3) & ~3, 16)
        if time.monotonic() > until:
            raise TooSlow
