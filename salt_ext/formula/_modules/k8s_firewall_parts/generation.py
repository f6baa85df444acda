"""
Tell whether nftables has changed, without reading any of it.

The kernel counts every nftables transaction, whoever makes it. While boot, network namespace,
count and the handle of our table are those after our own last transaction, nothing has changed.
"""

from __future__ import annotations

import contextlib
import os
import struct
from pathlib import Path

from . import netlink

_TABLE_NAME, _TABLE_HANDLE = 1, 4
_GENERATION_ID = 1


def current(table: str) -> str:
    """Return a text that stays the same only while nothing changes; empty when unknown."""
    with contextlib.suppress(OSError, KeyError, struct.error):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        # Threads may be in different namespaces.
        namespace = os.stat("/proc/thread-self/ns/net").st_ino  # noqa: PTH116
        with netlink.connect() as sock:
            try:
                asked = netlink.name(_TABLE_NAME, table)
                (handle,) = struct.unpack(
                    "!Q", netlink.ask(sock, netlink.TABLE, asked)[_TABLE_HANDLE]
                )
            except netlink.NotFound:
                handle = 0
            answer = netlink.ask(sock, netlink.GENERATION)
            (count,) = struct.unpack("!I", answer[_GENERATION_ID])
        return f"{boot} {namespace} {count} {handle}"
    return ""


def follows(after: str, before: str) -> bool:
    """Whether exactly one transaction lies between two states."""
    try:
        (boot, namespace, count, _), (*place, old, _) = after.split(), before.split()
    except ValueError:
        return False
    return [boot, namespace] == place and int(count) == int(old) + 1
