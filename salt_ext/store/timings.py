"""How long minions took for changes, from the first sight of each change to the proof."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from sqlite3 import Connection

from salt_ext.store.database import Database

_MAX_TIMINGS = 20_000
"""Timings that are kept, of all minions and clusters together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplyTiming:
    """One proven run; ``at`` is when it was proven, in seconds since the epoch."""

    at: float
    minion: str
    cluster: str
    revision: int | None
    jid: str
    seconds: float
    """From the moment when the minion was known to be out of sync."""


class TimingTable:
    """Written with each proof."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def newest(self, cluster: str, limit: int) -> list[ApplyTiming]:
        """Return the newest timings of a cluster, newest first."""
        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT at, minion, cluster, revision, jid, seconds FROM timing WHERE cluster = ?"
                " ORDER BY id DESC LIMIT ?",
                (cluster, limit),
            )
            return [
                ApplyTiming(
                    at=row[0],
                    minion=row[1],
                    cluster=row[2],
                    revision=row[3],
                    jid=row[4],
                    seconds=row[5],
                )
                for row in rows
            ]


def add(connection: Connection, timings: Iterable[ApplyTiming]) -> None:
    """Add how long minions took, and drop the oldest beyond the limit."""
    newest = 0
    for one in timings:
        row = (one.at, one.minion, one.cluster, one.revision, one.jid, one.seconds)
        newest = (
            connection.execute(
                "INSERT INTO timing (at, minion, cluster, revision, jid, seconds)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                row,
            ).lastrowid
            or 0
        )
    connection.execute("DELETE FROM timing WHERE id <= ?", (newest - _MAX_TIMINGS,))
