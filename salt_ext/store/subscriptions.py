"""Which minion references which cluster, as seen when its pillar was compiled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from salt_ext.store.database import Database

_COLUMNS = "minion, pillarenv, reference, cluster, resolved, gone_at IS NOT NULL"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """A reference in the pillar of a minion."""

    minion: str
    pillarenv: str
    reference: str
    cluster: str
    resolved: bool
    gone: bool
    """It was not in the newest pillar; kept until a run without it is acknowledged."""


class SubscriptionTable:
    """Written by every process that compiles pillars, only when something changes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(
        self,
        minion: str,
        pillarenv: str,
        references: Mapping[str, tuple[str, bool]],
        now: float,
    ) -> bool:
        """
        Record what one compile saw: reference to its cluster and whether it was resolved.

        Returns whether anything had to be written.
        """
        known = {
            row.reference: row
            for row in self._rows("minion = ? AND pillarenv = ?", minion, pillarenv)
        }
        put = [
            (minion, pillarenv, text, cluster, resolved)
            for text, (cluster, resolved) in references.items()
            if text not in known
            or known[text].gone
            or (known[text].cluster, known[text].resolved) != (cluster, resolved)
        ]
        gone = [text for text, row in known.items() if text not in references and not row.gone]
        if not put and not gone:
            return False
        with self._database.writing() as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO subscription VALUES (?, ?, ?, ?, ?, NULL)", put
            )
            connection.executemany(
                "UPDATE subscription SET gone_at = ?"
                " WHERE minion = ? AND pillarenv = ? AND reference = ?",
                ((now, minion, pillarenv, text) for text in gone),
            )
        return True

    def all(self) -> list[Subscription]:
        """Return every subscription."""
        return self._rows("1")

    def forget(self, minion: str) -> None:
        """Drop a minion whose key is gone, and its ledger."""
        with self._database.writing() as connection:
            connection.execute("DELETE FROM subscription WHERE minion = ?", (minion,))
            connection.execute("DELETE FROM ledger WHERE minion = ?", (minion,))

    def _rows(self, where: str, *values: str) -> list[Subscription]:
        query = f"SELECT {_COLUMNS} FROM subscription WHERE {where}"  # noqa: S608
        with self._database.reading() as connection:
            found = connection.execute(query, values).fetchall()
        return [
            Subscription(
                minion=row[0],
                pillarenv=row[1],
                reference=row[2],
                cluster=row[3],
                resolved=bool(row[4]),
                gone=bool(row[5]),
            )
            for row in found
        ]
