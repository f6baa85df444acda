"""
The identity of a store: each counts revisions of its own, and minions compare only within one.

A copy of the folder on another machine gets another identity: two masters with the same one would
each take the other's newer revisions for its own, and minions refuse one of them as older.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import logging
import os
import socket
from pathlib import Path

from salt_ext.store.database import Database

log = logging.getLogger(__name__)

_MACHINE_ID = Path("/etc/machine-id")

_IN_CONTAINER = (
    Path("/.dockerenv"),
    Path("/run/.containerenv"),
    Path("/run/systemd/container"),
    Path("/var/run/secrets/kubernetes.io"),
)
"""Where one of them exists, the host name may be another one after each start."""


def read(database: Database) -> str:
    """Return the identity of the store; a copy from another place gets one of its own first."""
    place = place_of(database.path)
    known, made_at = _row(database)
    if made_at == place:
        return known
    with database.writing() as connection:
        known, made_at = connection.execute("SELECT id, place FROM store_id").fetchone()
        if made_at and made_at != place:
            connection.execute("UPDATE store_id SET id = lower(hex(randomblob(8)))")
        if made_at != place:
            connection.execute("UPDATE store_id SET place = ?", (place,))
        (current,) = connection.execute("SELECT id FROM store_id").fetchone()
    if current != known:
        log.warning(
            "store: %s was copied from another machine or folder; its identity is now %s, it was "
            "%s, which another master may still use [store-copied]",
            *(database.path, current, known),
        )
    return str(current)


def has_decisions(database: Database) -> bool:
    """Whether a file of decisions was written for this store."""
    with database.reading() as connection:
        (known,) = connection.execute("SELECT decisions FROM store_id").fetchone()
    return bool(known)


def set_has_decisions(database: Database) -> None:
    """Record that a file of decisions was written for this store."""
    with database.writing() as connection:
        connection.execute("UPDATE store_id SET decisions = 1")


@functools.lru_cache(maxsize=64)
def place_of(path: Path) -> str:
    """Return what tells this store's place from those of its copies; a restart changes nothing."""
    machine = ""
    with contextlib.suppress(OSError):
        machine = _MACHINE_ID.read_text().strip()
    # A cloned machine often keeps the id of its original, but not its name.
    host = "" if any(map(_exists, _IN_CONTAINER)) else socket.gethostname()
    place = "\n".join((machine, host, os.path.realpath(path)))
    return hashlib.sha256(place.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def _exists(path: Path) -> bool:
    with contextlib.suppress(OSError):
        return path.exists()
    return False


def _row(database: Database) -> tuple[str, str]:
    with database.reading() as connection:
        known, place = connection.execute("SELECT id, place FROM store_id").fetchone()
    return str(known), str(place)
