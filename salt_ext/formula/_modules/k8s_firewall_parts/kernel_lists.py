"""Lists of objects straight from the kernel, where no program prints them."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Callable, Iterator

_ROUTE, _NETFILTER = 0, 12
_REQUEST_DUMP = 0x301
_ERROR, _DONE = 2, 3
_TIMEOUT_SECONDS = 10.0
_BUFFER = 1 << 20
_GET_TABLE = 10 << 8 | 1
_GET_ADDRESS = 22
GET_FLOWS = 1 << 8 | 1

# The netlink header, and behind it that of netfilter or of addresses.
_HEADER, _NETFILTER_HEADER, _ADDRESS_HEADER = 16, 4, 8
_IFA_ADDRESS, _IFA_LOCAL = 1, 2

_TABLE_NAME = 1
_LACKING = (errno.EINVAL, errno.EPROTONOSUPPORT, errno.EOPNOTSUPP)
"""What a kernel without nf_tables, or without netfilter's netlink, answers."""

Attributes = dict[int, bytes]
FAMILY = 0
"""Among the attributes of an object: the first byte of its header."""
Pick = Callable[[bytes, int], bool]
"""Whether the message at a place of an answer is wanted."""


def dump(message: int, family: int = 0, pick: Pick | None = None) -> Iterator[Attributes]:
    """Yield the attributes of netfilter's objects; raise OSError where they are not listed."""
    yield from _dump(_NETFILTER, message, family, _NETFILTER_HEADER, pick)


def local_addresses() -> set[str]:
    """Return the addresses of this host's interfaces; raise OSError where they are not listed."""
    found: set[str] = set()
    for one in _dump(_ROUTE, _GET_ADDRESS, 0, _ADDRESS_HEADER, None):
        address = one.get(_IFA_LOCAL, one.get(_IFA_ADDRESS, b""))
        if len(address) in (4, 16):
            family = socket.AF_INET if len(address) == 4 else socket.AF_INET6
            found.add(socket.inet_ntop(family, address))
    return found


def nft_tables() -> list[tuple[int, str]]:
    """
    Return the family and the name of every table of nf_tables; none where the kernel lacks it.

    Raises OSError where that cannot be asked.
    """
    try:
        return [
            (one[FAMILY][0], one.get(_TABLE_NAME, b"").rstrip(b"\0").decode("utf-8", "replace"))
            for one in dump(_GET_TABLE)
        ]
    except OSError as exc:
        if exc.errno in _LACKING:
            return []
        raise


def _dump(
    protocol: int, message: int, family: int, header: int, pick: Pick | None
) -> Iterator[Attributes]:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol) as sock:
        sock.settimeout(_TIMEOUT_SECONDS)
        sock.bind((0, 0))
        size = _HEADER + header
        sock.send(
            struct.pack("=IHHII", size, message, _REQUEST_DUMP, 1, 0)
            + bytes([family]).ljust(header, b"\0")
        )
        done = False
        while not done:
            done, found = parse(sock.recv(_BUFFER), header, pick)
            yield from found


def parse(answer: bytes, header: int, pick: Pick | None = None) -> tuple[bool, list[Attributes]]:
    """Return whether an answer is the last one, and its objects; raise OSError for an error."""
    found: list[Attributes] = []
    at = 0
    while at + _HEADER <= len(answer):
        size, kind = struct.unpack_from("=IH", answer, at)
        if kind in (_ERROR, _DONE):
            code = answer[at + _HEADER : at + _HEADER + 4].ljust(4, b"\0")
            if (number := struct.unpack("=i", code)[0]) < 0:
                raise OSError(-number, "the kernel does not list them")
            return True, found
        if size < _HEADER + header:
            break
        if pick is None or pick(answer, at):
            begin = at + _HEADER
            one = attributes(answer[begin + header : at + size])
            found.append({FAMILY: answer[begin : begin + 1], **one})
        at += (size + 3) & ~3
    return False, found


def attributes(data: bytes) -> Attributes:
    """Return the attributes of a message, or those within one, by their numbers."""
    found: Attributes = {}
    at = 0
    while at + 4 <= len(data):
        length, number = struct.unpack_from("=HH", data, at)
        if length < 4:
            break
        found[number & 0x3FFF] = data[at + 4 : at + length]
        at += (length + 3) & ~3
    return found
