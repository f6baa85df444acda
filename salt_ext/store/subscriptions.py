"""Which minion references which cluster, as seen when its pillar was compiled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from salt_ext.store.database import Database

_COLUMNS = "minion, pillarenv, reference, cluster, answer, digest, gone_at IS NOT NULL"


class Answer(str, Enum):
    """What a reference met with when a pillar was compiled."""

    SERVED = "served"
    UNRESOLVED = "unresolved"
    REFUSED = "refused"
    """The cluster does not serve this minion."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One reference in one compile."""

    cluster: str
    answer: Answer
    digest: str = ""
    """Of the addresses that took its place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """A reference in the pillar of a minion."""

    minion: str
    pillarenv: str
    reference: str
    seen: Seen
    gone: bool
    """It was not in the newest pillar; kept until a run without it is acknowledged."""


class SubscriptionTable:
    """Written by every process that compiles pillars, only when something changes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(
        self, minion: str, pillarenv: str, references: Mapping[str, Seen], now: float
    ) -> bool:
        """
        Record what one compile saw of each reference.

        Returns whether anything had to be written.
        """
        known = {
            row.reference: row
            for row in self._rows("minion = ? AND pillarenv = ?", minion, pillarenv)
        }
        put = [
            (minion, pillarenv, text, seen.cluster, seen.answer.value, seen.digest)
            for text, seen in references.items()
            if text not in known or known[text].gone or known[text].seen != seen
        ]
        gone = [text for text, row in known.items() if text not in references and not row.gone]
        if not put and not gone:
            return False
        with self._database.writing() as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO subscription VALUES (?, ?, ?, ?, ?, ?, NULL)", put
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
            connection.execute("DELETE FROM module WHERE minion = ?", (minion,))

    def _rows(self, where: str, *values: str) -> list[Subscription]:
        query = f"SELECT {_COLUMNS} FROM subscription WHERE {where}"  # noqa: S608
        with self._database.reading() as connection:
            return [
                Subscription(
                    minion=row[0],
                    pillarenv=row[1],
                    reference=row[2],
                    seen=Seen(cluster=row[3], answer=Answer(row[4]), digest=row[5]),
                    gone=bool(row[6]),
                )
                for row in connection.execute(query, values)
            ]
