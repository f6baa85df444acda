"""Which minion references which cluster, as seen when its pillar was compiled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from sqlite3 import Connection

from salt_ext.store.database import Database

_COLUMNS = "minion, pillarenv, reference, cluster, answer, digest, gone_at IS NOT NULL"


_MOST_FORGOTTEN = 10_000
"""Names that are kept of minions that were forgotten."""

_Row = tuple[str, str, str, str, str, str]


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
    """Of the addresses that took its place, or of the reason that it stays."""


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

    def differ(self, minion: str, pillarenv: str, references: Mapping[str, Seen]) -> bool:
        """Whether what one compile saw is anything else than what is recorded."""
        with self._database.reading() as connection:
            return any(_difference(connection, minion, pillarenv, references))

    def record(
        self,
        minion: str,
        pillarenv: str,
        references: Mapping[str, Seen],
        now: float,
        *,
        whole: bool = True,
    ) -> bool:
        """
        Record what one compile saw of each reference.

        Of a pillar that is not ``whole``, nothing that is missing counts as gone. Returns whether
        anything had to be written.
        """
        if not self.differ(minion, pillarenv, references):
            return False
        with self._database.writing() as connection:
            # Another worker may have compiled the same pillar since.
            put, gone = _difference(connection, minion, pillarenv, references)
            gone = gone if whole else []
            connection.executemany(
                "INSERT OR REPLACE INTO subscription VALUES (?, ?, ?, ?, ?, ?, NULL, ?)",
                ((*row, now) for row in put),
            )
            connection.executemany(
                "UPDATE subscription SET gone_at = ?1, changed_at = ?1"
                " WHERE minion = ?2 AND pillarenv = ?3 AND reference = ?4",
                ((now, minion, pillarenv, text) for text in gone),
            )
        return bool(put or gone)

    def recorded(self, minion: str, pillarenv: str) -> dict[str, Seen]:
        """Return what is recorded of each reference in one pillar of a minion."""
        with self._database.reading() as connection:
            rows = _rows(connection, "minion = ? AND pillarenv = ?", minion, pillarenv)
        return {row.reference: row.seen for row in rows if not row.gone}

    def references_of(self, minion: str, pillarenv: str) -> list[str]:
        """Return what one pillar of a minion refers to."""
        return list(self.recorded(minion, pillarenv))

    def environments(self) -> dict[str, list[str]]:
        """Return the pillar environments in which each minion has references."""
        with self._database.reading() as connection:
            found: dict[str, list[str]] = {}
            for minion, pillarenv in connection.execute(
                "SELECT DISTINCT minion, pillarenv FROM subscription ORDER BY 1, 2"
            ):
                found.setdefault(minion, []).append(pillarenv)
            return found

    def known(self) -> frozenset[str]:
        """Return the minions of whom anything is recorded, in the ledger too."""
        with self._database.reading() as connection:
            return frozenset(
                minion
                for (minion,) in connection.execute(
                    "SELECT minion FROM subscription UNION SELECT minion FROM ledger"
                )
            )

    def all(self) -> list[Subscription]:
        """Return every subscription."""
        with self._database.reading() as connection:
            return _rows(connection, "1")

    def forget(self, minion: str, now: float) -> None:
        """Drop a minion whose key is gone, and its ledger; only its name is kept for a while."""
        with self._database.writing() as connection:
            connection.execute("INSERT OR REPLACE INTO forgotten VALUES (?, ?)", (minion, now))
            connection.execute(
                "DELETE FROM forgotten WHERE minion IN"
                " (SELECT minion FROM forgotten ORDER BY at DESC LIMIT -1 OFFSET ?)",
                (_MOST_FORGOTTEN,),
            )
            connection.execute("DELETE FROM subscription WHERE minion = ?", (minion,))
            connection.execute("DELETE FROM ledger WHERE minion = ?", (minion,))
            connection.execute("DELETE FROM module WHERE minion = ?", (minion,))
            connection.execute("DELETE FROM endless WHERE minion = ?", (minion,))
            connection.execute("DELETE FROM rest WHERE minion = ?", (minion,))

    def forgotten(self) -> frozenset[str]:
        """Return the minions that were forgotten, and of whom nothing was learned since."""
        with self._database.reading() as connection:
            rows = connection.execute("SELECT minion FROM forgotten").fetchall()
        return frozenset(minion for (minion,) in rows)

    def learned(self, minion: str) -> None:
        """Take that it is known again what the pillar of a minion refers to."""
        with self._database.writing() as connection:
            connection.execute("DELETE FROM forgotten WHERE minion = ?", (minion,))


def _difference(
    connection: Connection, minion: str, pillarenv: str, references: Mapping[str, Seen]
) -> tuple[list[_Row], list[str]]:
    """Return the rows that have to be written, and the references that are no longer there."""
    rows = _rows(connection, "minion = ? AND pillarenv = ?", minion, pillarenv)
    known = {row.reference: row for row in rows}
    put = [
        (minion, pillarenv, text, seen.cluster, seen.answer.value, seen.digest)
        for text, seen in references.items()
        if text not in known or known[text].gone or known[text].seen != seen
    ]
    return put, [text for text, row in known.items() if text not in references and not row.gone]


def _rows(connection: Connection, where: str, *values: str) -> list[Subscription]:
    query = f"SELECT {_COLUMNS} FROM subscription WHERE {where}"  # noqa: S608
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
