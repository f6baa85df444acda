"""Ask the kernel for what no program prints, or prints slowly: one answer, or a dump of many."""

from __future__ import annotations

import errno
import math
import os
import socket
import struct
import time
from collections.abc import Callable, Iterator

_NFTABLES = 10 << 8
TABLE, CHAIN, RULE, SET, ELEMENT, GENERATION = (
    _NFTABLES | number for number in (1, 4, 7, 10, 13, 16)
)
"""What nftables can be asked for."""
FLOW = 1 << 8 | 1
"""An entry of connection tracking."""
_ADDRESS = 22
INET, IPV4, IPV6 = 1, 2, 10

ROUTE, NETFILTER = 0, 12
_HEADER = 16
_OWN_HEADERS = {ROUTE: 8, NETFILTER: 4}
"""The length of the header that each kind of netlink has behind the common one."""
_REQUEST, _DUMP = 1, 0x300
_ERROR, _DONE = 2, 3
_INTERRUPTED = 0x10
_ASK_SECONDS, _DUMP_SECONDS = 1.0, 10.0
"""How long one part of an answer may take."""
_BUFFER = 1 << 17
_TRIES = 2
_NAME = 1
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_LACKING = (errno.EINVAL, errno.EPROTONOSUPPORT, errno.EOPNOTSUPP)
"""What a kernel without nf_tables, or without netfilter's netlink, answers."""

Attributes = dict[int, bytes]
Pick = Callable[[bytes, int], bool]
"""Whether the message at a place of an answer is wanted."""
_Objects = list[tuple[int, Attributes]]
"""The family and the attributes of each."""


class NotFound(OSError):
    """The kernel does not have the object, or does not list such objects at all."""


class TooSlow(Exception):
    """The dump is longer than the time that it may take."""


def connect(kind: int = NETFILTER, seconds: float = _ASK_SECONDS) -> socket.socket:
    """Return a socket to the kernel, in this thread's network namespace."""
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, kind)
    sock.settimeout(seconds)
    sock.bind((0, 0))
    return sock


def ask(sock: socket.socket, message: int, asked: bytes = b"", family: int = INET) -> Attributes:
    """Return the attributes of one object; raise NotFound where the kernel has none."""
    sock.send(_message(message, _REQUEST, asked, family))
    return parse_answer(sock.recv(_BUFFER))


def dump(
    message: int,
    asked: bytes = b"",
    family: int = 0,
    *,
    kind: int = NETFILTER,
    seconds: float = math.inf,
    pick: Pick | None = None,
) -> _Objects:
    """
    Return the family and the attributes of every object; raise TooSlow after some time.

    pick
        Leave out messages without reading them.
    """
    until = time.monotonic() + seconds
    for _ in range(_TRIES):
        found: _Objects = []
        done, whole = False, True
        with connect(kind, _DUMP_SECONDS) as sock:
            sock.send(_message(message, _REQUEST | _DUMP, asked, family, kind))
            while not done:
                done, steady, more = parse(sock.recv(_BUFFER), kind, pick)
                whole = whole and steady
                found += more
                if not done and time.monotonic() > until:
                    raise TooSlow
        if whole:
            break
        # Another program has changed something meanwhile: some may be doubled, some missing.
    return found


def tables() -> list[tuple[int, str]]:
    """
    Return the family and the name of every table of nf_tables; none where the kernel lacks it.

    Raises OSError where that cannot be asked.
    """
    try:
        return [(family, text(one.get(_NAME, b""))) for family, one in dump(TABLE)]
    except OSError as exc:
        if exc.errno in _LACKING:
            return []
        raise


def local_addresses() -> set[str]:
    """Return the addresses of this host's interfaces; raise OSError where they are not listed."""
    found: set[str] = set()
    for _, one in dump(_ADDRESS, kind=ROUTE):
        address = one.get(_IFA_LOCAL, one.get(_IFA_ADDRESS, b""))
        if len(address) in (4, 16):
            family = socket.AF_INET if len(address) == 4 else socket.AF_INET6
            found.add(socket.inet_ntop(family, address))
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


def parse(
    answer: bytes, kind: int = NETFILTER, pick: Pick | None = None
) -> tuple[bool, bool, _Objects]:
    """Return whether an answer is the last one, whether it is whole, and its objects."""
    found: _Objects = []
    steady = True
    inside = _HEADER + _OWN_HEADERS[kind]
    at = 0
    while at + _HEADER <= len(answer):
        size, number, flags = struct.unpack_from("=IHH", answer, at)
        if number in (_ERROR, _DONE):
            _raise_failed(answer, at)
            return True, steady, found
        if size < inside:
            break
        steady = steady and not flags & _INTERRUPTED
        if pick is None or pick(answer, at):
            one = answer[at : at + size]
            found.append((one[_HEADER] if len(one) > _HEADER else 0, attributes(one, inside)))
        at += (size + 3) & ~3
    return False, steady, found


def parse_answer(answer: bytes) -> Attributes:
    """Return the attributes of a message by their numbers."""
    size, number = struct.unpack_from("=IH", answer)
    if number == _ERROR:
        raise NotFound
    return attributes(answer[:size], _HEADER + _OWN_HEADERS[NETFILTER])


def attributes(data: bytes, at: int = 0) -> Attributes:
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


def _message(message: int, flags: int, asked: bytes, family: int, kind: int = NETFILTER) -> bytes:
    own = bytes([family]).ljust(_OWN_HEADERS[kind], b"\0")
    size = _HEADER + len(own) + len(asked)
    return struct.pack("=IHHII", size, message, flags, 1, 0) + own + asked


def _raise_failed(answer: bytes, at: int) -> None:
    """Raise NotFound where the last message of an answer has an error."""
    code = answer[at + _HEADER : at + _HEADER + 4].ljust(4, b"\0")
    if (number := struct.unpack("=i", code)[0]) < 0:
        raise NotFound(-number, "the kernel does not list them")
