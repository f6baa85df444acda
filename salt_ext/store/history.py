"""What changed when, and by whose word: bounded, kept through restarts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from salt_ext.store.database import Database

MOST = 10_000
"""Entries that are kept, for all clusters together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryEntry:
    """One entry; ``at`` is seconds since the epoch."""

    at: float
    cluster: str
    what: str
    detail: Mapping[str, Any]


class HistoryTable:
    """Written by the engine and the runner."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(self, happened: HistoryEntry) -> None:
        """Add an entry; the oldest beyond ``MOST`` are dropped."""
        with self._database.writing() as connection:
            added = connection.execute(
                "INSERT INTO history (at, cluster, what, detail) VALUES (?, ?, ?, ?)",
                (
                    happened.at,
                    happened.cluster,
                    happened.what,
                    msgspec.json.encode(happened.detail),
                ),
            ).lastrowid
            connection.execute("DELETE FROM history WHERE id <= ?", ((added or 0) - MOST,))

    def newest(self, cluster: str, most: int) -> list[HistoryEntry]:
        """Return the newest entries of a cluster, newest first."""
        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT at, what, detail FROM history WHERE cluster = ? ORDER BY id DESC LIMIT ?",
                (cluster, most),
            )
            return [
                HistoryEntry(
                    at=row[0], cluster=cluster, what=row[1], detail=msgspec.json.decode(row[2])
                )
                for row in rows
            ]
