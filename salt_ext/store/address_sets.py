"""The addresses that each digest in the ledger stands for, kept once for all minions."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Mapping
from functools import lru_cache
from sqlite3 import Connection

import msgspec

from salt_ext.core.references.resolve import digest
from salt_ext.core.rollout.drift import Resolved
from salt_ext.store.database import Database

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(dict[str, tuple[str, ...]]).decode


class AddressSetTable:
    """Written with each publish and each baseline; a set goes when nothing has its digest."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, set_digest: str) -> Resolved | None:
        """Return the addresses of each reference, None when they are not kept."""
        with self._database.reading() as connection:
            row = connection.execute(
                "SELECT addresses FROM address_set WHERE digest = ?", (set_digest,)
            ).fetchone()
            return unpack(row[0]) if row else None

    def all(self, digests: Collection[str]) -> dict[str, Resolved]:
        """Return the sets that are kept of these digests."""
        kept = ((one, self.get(one)) for one in digests)
        return {one: resolved for one, resolved in kept if resolved is not None}


def add(connection: Connection, sets: Mapping[str, Resolved]) -> None:
    """Keep the sets that are not kept yet, by their digests."""
    kept = {
        row[0] for row in connection.execute("SELECT digest FROM address_set") if row[0] in sets
    }
    connection.executemany(
        "INSERT INTO address_set VALUES (?, ?)",
        ((name, zlib.compress(_encode(sets[name]), 1)) for name in sets.keys() - kept),
    )


def delete_unused(connection: Connection) -> None:
    """Drop the sets that no minion was sent, has applied, or has as a baseline."""
    connection.execute(
        "DELETE FROM address_set WHERE digest NOT IN (SELECT applied FROM ledger WHERE applied"
        " IS NOT NULL UNION SELECT dispatched FROM ledger WHERE dispatched IS NOT NULL"
        " UNION SELECT dispatched FROM late_job WHERE dispatched IS NOT NULL"
        " UNION SELECT digest FROM departure_baseline UNION SELECT digest FROM observed_baseline)"
    )


@lru_cache(maxsize=64)
def reference_digests(blob: bytes) -> dict[str, str]:
    """Return the digest of each reference in a stored set; many minions share a set."""
    return {text: digest({text: addresses}) for text, addresses in unpack(blob).items()}


def unpack(blob: bytes) -> dict[str, tuple[str, ...]]:
    """Return the addresses of each reference in a stored set."""
    try:
        return _decode(zlib.decompress(blob))
    except zlib.error as exc:
        raise ValueError(str(exc)) from exc
