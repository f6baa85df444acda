"""
Which state of its nftables the kernel has, without reading any of it.

The kernel counts the transactions of everybody. While boot, network namespace, count and the
handle of our table are those after our own last one, all is as we left it.
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
_SECONDS = 1.0


def now(table: str) -> str:
    """Return a text that is the same only while nothing has changed; empty when not known."""
    with contextlib.suppress(OSError, KeyError, struct.error, _NoSuch):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        # Threads may be in different ones.
        space = os.stat("/proc/thread-self/ns/net").st_ino  # noqa: PTH116
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETFILTER) as sock:
            sock.settimeout(_SECONDS)
            sock.bind((0, 0))
            name = table.encode() + b"\0"
            attribute = struct.pack("=HH", 4 + len(name), _TABLE_NAME) + _padded(name)
            try:
                found = _asked(sock, _GET_TABLE, attribute)
                (handle,) = struct.unpack("!Q", found[_TABLE_HANDLE])
            except _NoSuch:
                handle = 0
            (count,) = struct.unpack("!I", _asked(sock, _GET_GENERATION)[_GENERATION_ID])
        return f"{boot} {space} {count} {handle}"
    return ""


def follows(after: str, before: str) -> bool:
    """Whether there was exactly one transaction in between."""
    try:
        (boot, space, count, _), (*place, old, _) = after.split(), before.split()
    except ValueError:
        return False
    return [boot, space] == place and int(count) == int(old) + 1


class _NoSuch(Exception):
    """The kernel does not have what it was asked for."""


def _asked(sock: socket.socket, what: int, attributes: bytes = b"") -> dict[int, bytes]:
    size = 16 + 4 + len(attributes)
    head = struct.pack("=IHHII", size, _NFTABLES | what, 1, what, 0)
    sock.send(head + struct.pack("=BBH", _INET, 0, 0) + attributes)
    answer = sock.recv(65536)
    size, kind = struct.unpack_from("=IH", answer)
    if kind == _ERROR:
        raise _NoSuch
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
