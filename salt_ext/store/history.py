"""What changed when, and by whose hand: bounded, kept through restarts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from salt_ext.store.database import Database

MAX_ENTRIES = 10_000
"""Entries that are kept, for all clusters together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryEntry:
    """One entry; ``at`` is seconds since the epoch, ``cluster`` is empty where it is about none."""

    at: float
    cluster: str
    what: str
    detail: Mapping[str, Any]


class HistoryTable:
    """Written by the engine, the runner and the ext_pillar."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(self, entry: HistoryEntry) -> None:
        """Add an entry; the oldest beyond ``MAX_ENTRIES`` are dropped."""
        with self._database.writing() as connection:
            newest = connection.execute(
                "INSERT INTO history (at, cluster, what, detail) VALUES (?, ?, ?, ?)",
                (entry.at, entry.cluster, entry.what, msgspec.json.encode(entry.detail)),
            ).lastrowid
            connection.execute("DELETE FROM history WHERE id <= ?", ((newest or 0) - MAX_ENTRIES,))

    def clusters(self) -> frozenset[str]:
        """Return the clusters that have entries, configured or not."""
        with self._database.reading() as connection:
            rows = connection.execute("SELECT DISTINCT cluster FROM history").fetchall()
        return frozenset(cluster for (cluster,) in rows)

    def newest(self, cluster: str, limit: int) -> list[HistoryEntry]:
        """Return the newest entries of a cluster, newest first."""
        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT at, what, detail FROM history WHERE cluster = ? ORDER BY id DESC LIMIT ?",
                (cluster, limit),
            )
            return [
                HistoryEntry(
                    at=row[0], cluster=cluster, what=row[1], detail=msgspec.json.decode(row[2])
                )
                for row in rows
            ]
