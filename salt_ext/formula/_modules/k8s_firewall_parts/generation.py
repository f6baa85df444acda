"""
Tell whether nftables has changed, without reading any of it.

The kernel counts every nftables transaction, whoever makes it. While boot, network namespace,
count and the handle of our table are those after our own last transaction, nothing has changed.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from pathlib import Path

_NETFILTER = 12
_NFTABLES = 10 << 8
_GET_TABLE, _GET_GENERATION = 1, 16
_TABLE_NAME, _TABLE_HANDLE = 1, 4
_GENERATION_ID = 1
_ERROR = 2
_INET = 1
_TIMEOUT_SECONDS = 1.0


def current(table: str) -> str:
    """Return a text that stays the same only while nothing changes; empty when unknown."""
    with contextlib.suppress(OSError, KeyError, struct.error, _NotFound):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        # Threads may be in different namespaces.
        namespace = os.stat("/proc/thread-self/ns/net").st_ino  # noqa: PTH116
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETFILTER) as sock:
            sock.settimeout(_TIMEOUT_SECONDS)
            sock.bind((0, 0))
            name = table.encode() + b"\0"
            attribute = struct.pack("=HH", 4 + len(name), _TABLE_NAME) + _padded(name)
            try:
                attributes = _query(sock, _GET_TABLE, attribute)
                (handle,) = struct.unpack("!Q", attributes[_TABLE_HANDLE])
            except _NotFound:
                handle = 0
            (count,) = struct.unpack("!I", _query(sock, _GET_GENERATION)[_GENERATION_ID])
        return f"{boot} {namespace} {count} {handle}"
    return ""


def follows(after: str, before: str) -> bool:
    """Whether exactly one transaction lies between two states."""
    try:
        (boot, namespace, count, _), (*place, old, _) = after.split(), before.split()
    except ValueError:
        return False
    return [boot, namespace] == place and int(count) == int(old) + 1


class _NotFound(Exception):
    """The kernel does not have the object."""


def _query(sock: socket.socket, message: int, attributes: bytes = b"") -> dict[int, bytes]:
    size = 16 + 4 + len(attributes)
    header = struct.pack("=IHHII", size, _NFTABLES | message, 1, message, 0)
    sock.send(header + struct.pack("=BBH", _INET, 0, 0) + attributes)
    return parse_answer(sock.recv(65536))


def parse_answer(answer: bytes) -> dict[int, bytes]:
    """Return the attributes of a netlink message by their numbers."""
    size, kind = struct.unpack_from("=IH", answer)
    if kind == _ERROR:
        raise _NotFound
    found: dict[int, bytes] = {}
    at = 20
    while at + 4 <= size:
        length, number = struct.unpack_from("=HH", answer, at)
        if length < 4:
            break
        found[number & 0x3FFF] = answer[at + 4 : at + length]
        at += (length + 3) & ~3
    return found


def _padded(text: bytes) -> bytes:
    return text + b"\0" * (-len(text) % 4)
