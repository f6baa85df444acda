"""Who was sent what, and who proved to have applied it."""

from __future__ import annotations

from collections.abc import Iterable

from salt_ext.core.convergence import Behind, Entry, Place
from salt_ext.store.database import Database

_COLUMNS = (
    "minion, cluster, applied, applied_at, jid, dispatched, dispatched_at, attempts, next_at, error"
)


class LedgerTable:
    """Written by the runner when it publishes and by the engine when a job returns."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self) -> dict[Place, Entry]:
        """Return every entry."""
        return {(entry.minion, entry.cluster): entry for entry in self._entries("1")}

    def outstanding(self) -> dict[str, list[Entry]]:
        """Return the entries whose job has not returned, by jid."""
        found: dict[str, list[Entry]] = {}
        for entry in self._entries("jid IS NOT NULL"):
            found.setdefault(str(entry.jid), []).append(entry)
        return found

    def dispatched(self, jid: str, sent: Iterable[Behind], now: float) -> None:
        """Write down, before it is published, what a job will apply where."""
        with self._database.writing() as connection:
            connection.executemany(
                "INSERT INTO ledger (minion, cluster, jid, dispatched, dispatched_at)"
                " VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET jid = excluded.jid,"
                " dispatched = excluded.dispatched, dispatched_at = excluded.dispatched_at",
                ((one.minion, one.cluster, jid, one.desired, now) for one in sent),
            )

    def proven(self, jid: str, minion: str, now: float) -> None:
        """Take a job's success: what was current when it was published is in force."""
        with self._database.writing() as connection:
            # A reference that was gone before the publish is gone from the firewall too.
            connection.execute(
                "DELETE FROM subscription WHERE minion = ?1 AND gone_at <"
                " (SELECT min(dispatched_at) FROM ledger WHERE minion = ?1 AND jid = ?2"
                " AND cluster = subscription.cluster)",
                (minion, jid),
            )
            connection.execute(
                "UPDATE ledger SET applied = dispatched, applied_at = ?, jid = NULL, attempts = 0,"
                " next_at = 0, error = NULL WHERE jid = ? AND minion = ?",
                (now, jid, minion),
            )
            connection.execute(
                "DELETE FROM ledger WHERE minion = ?1 AND jid IS NULL AND NOT EXISTS (SELECT 1 FROM"
                " subscription s WHERE s.minion = ?1 AND s.cluster = ledger.cluster)",
                (minion,),
            )

    def failed(self, jid: str, minion: str, error: str, *, counted: bool, next_at: float) -> None:
        """Take a job's failure, or its silence."""
        with self._database.writing() as connection:
            connection.execute(
                "UPDATE ledger SET jid = NULL, attempts = attempts + ?, next_at = ?, error = ?"
                " WHERE jid = ? AND minion = ?",
                (int(counted), next_at, error, jid, minion),
            )

    def _entries(self, where: str) -> list[Entry]:
        with self._database.reading() as connection:
            found = connection.execute(
                f"SELECT {_COLUMNS} FROM ledger WHERE {where}"  # noqa: S608
            ).fetchall()
        return [
            Entry(
                minion=row[0],
                cluster=row[1],
                applied=row[2],
                applied_at=row[3],
                jid=row[4],
                dispatched=row[5],
                dispatched_at=row[6],
                attempts=row[7],
                next_at=row[8],
                error=row[9],
            )
            for row in found
        ]
