"""Which minion references which cluster, as seen when its pillar was compiled."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from sqlite3 import Connection

from salt_ext.core.rollout.judgement import RecordedReference
from salt_ext.store import departures, minion_facts, observed
from salt_ext.store.database import Database

_COLUMNS = "minion, pillarenv, reference, cluster, answer, digest, gone_at IS NOT NULL, ever_served"

_MAX_DELETED = 10_000
"""Names of deleted minions that are kept."""

_Row = tuple[str, str, str, str, str, str]


class Answer(str, Enum):
    """What became of a reference when a pillar was compiled."""

    SERVED = "served"
    UNRESOLVED = "unresolved"
    REFUSED = "refused"
    """The cluster's ``serve_to`` excludes this minion."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One reference in one compile."""

    cluster: str
    answer: Answer
    digest: str = ""
    """Of the addresses that replaced it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """A reference in the pillar of a minion."""

    minion: str
    pillarenv: str
    reference: str
    seen: Seen
    gone: bool
    """Missing in the newest pillar; kept until a run without it is proven."""
    ever_served: bool = False
    """Whether addresses have ever replaced it in this pillar."""


class SubscriptionTable:
    """Written by each process that compiles pillars, and only where something changes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def differs(self, minion: str, pillarenv: str, references: Mapping[str, Seen]) -> bool:
        """Whether the references of one compile differ from the recorded ones."""
        with self._database.reading() as connection:
            return any(_diff(connection, minion, pillarenv, references))

    def record(
        self,
        minion: str,
        pillarenv: str,
        references: Mapping[str, Seen],
        now: float,
        *,
        complete: bool = True,
    ) -> bool:
        """
        Record the references of one compile; ``now`` is seconds since the epoch.

        Where the pillar is not ``complete``, a missing reference does not count as gone. Returns
        whether anything had to be written.
        """
        if not self.differs(minion, pillarenv, references):
            return False
        with self._database.writing() as connection:
            # Another worker may have compiled the same pillar since.
            changed, gone = _diff(connection, minion, pillarenv, references)
            gone = gone if complete else []
            connection.executemany(
                "INSERT INTO subscription VALUES (?, ?, ?, ?, ?, ?, NULL, ?, ?)"
                " ON CONFLICT DO UPDATE SET cluster = excluded.cluster, answer = excluded.answer,"
                " digest = excluded.digest, gone_at = NULL, changed_at = excluded.changed_at,"
                " ever_served = max(ever_served, excluded.ever_served)",
                ((*row, now, int(row[4] == Answer.SERVED.value)) for row in changed),
            )
            # It opened nothing, so there is nothing to take away.
            connection.executemany(
                "DELETE FROM subscription WHERE NOT ever_served"
                " AND minion = ? AND pillarenv = ? AND reference = ?",
                ((minion, pillarenv, text) for text in gone),
            )
            connection.executemany(
                "UPDATE subscription SET gone_at = ?1, changed_at = ?1"
                " WHERE minion = ?2 AND pillarenv = ?3 AND reference = ?4",
                ((now, minion, pillarenv, text) for text in gone),
            )
        return bool(changed or gone)

    def recorded(self, minion: str, pillarenv: str) -> dict[str, Seen]:
        """Return what is recorded of each reference in one pillar of a minion."""
        with self._database.reading() as connection:
            rows = _rows(connection, "minion = ? AND pillarenv = ?", minion, pillarenv)
        return {row.reference: row.seen for row in rows if not row.gone}

    def references_of(self, minion: str, pillarenv: str) -> list[str]:
        """Return the references in one pillar of a minion."""
        return list(self.recorded(minion, pillarenv))

    def environments(self) -> dict[str, list[str]]:
        """Return the pillar environments in which each minion has references."""
        with self._database.reading() as connection:
            by_minion: dict[str, list[str]] = {}
            for minion, pillarenv in connection.execute(
                "SELECT DISTINCT minion, pillarenv FROM subscription ORDER BY 1, 2"
            ):
                by_minion.setdefault(minion, []).append(pillarenv)
            return by_minion

    def known(self) -> frozenset[str]:
        """Return the minions with any subscription, ledger entry or departure."""
        with self._database.reading() as connection:
            return frozenset(
                minion
                for (minion,) in connection.execute(
                    "SELECT minion FROM subscription UNION SELECT minion FROM ledger"
                    " UNION SELECT minion FROM closing"
                )
            )

    def to_cluster(self, cluster: str) -> dict[tuple[str, ...], list[str]]:
        """Return the minions with each set of references to one cluster."""
        texts: dict[str, list[str]] = {}
        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT DISTINCT minion, reference FROM subscription"
                " WHERE cluster = ? AND ever_served ORDER BY 1, 2",
                (cluster,),
            )
            for minion, text in rows:
                texts.setdefault(minion, []).append(text)
        minions: dict[tuple[str, ...], list[str]] = {}
        for minion, its_texts in texts.items():
            minions.setdefault(tuple(its_texts), []).append(minion)
        return minions

    def count(self, cluster: str) -> int:
        """Return how many minions have addresses of a cluster."""
        with self._database.reading() as connection:
            (row,) = connection.execute(
                "SELECT count(DISTINCT minion) FROM subscription WHERE cluster = ? AND ever_served",
                (cluster,),
            )
        return int(row[0])

    def all(self) -> list[Subscription]:
        """Return every subscription."""
        with self._database.reading() as connection:
            return _rows(connection, "1")

    def to_others(self, clusters: Collection[str]) -> list[Subscription]:
        """Return the subscriptions that had addresses of any cluster but these."""
        marks = ", ".join(["''", *("?" for _ in clusters)])
        where = f"ever_served AND gone_at IS NULL AND cluster NOT IN ({marks})"
        with self._database.reading() as connection:
            return _rows(connection, where, *clusters)

    def delete(self, minion: str, now: float) -> None:
        """Delete all that is recorded of a minion without a key, but for its name."""
        with self._database.writing() as connection:
            connection.execute("INSERT OR REPLACE INTO deleted_minion VALUES (?, ?)", (minion, now))
            connection.execute(
                "DELETE FROM deleted_minion WHERE minion IN"
                " (SELECT minion FROM deleted_minion ORDER BY at DESC LIMIT -1 OFFSET ?)",
                (_MAX_DELETED,),
            )
            connection.execute("DELETE FROM subscription WHERE minion = ?", (minion,))
            connection.execute("DELETE FROM ledger WHERE minion = ?", (minion,))
            minion_facts.delete(connection, minion)
            departures.delete(connection, minion)
            observed.delete(connection, minion)

    def deleted(self) -> frozenset[str]:
        """Return the minions that were deleted, and not restored since."""
        with self._database.reading() as connection:
            rows = connection.execute("SELECT minion FROM deleted_minion").fetchall()
        return frozenset(minion for (minion,) in rows)

    def restored(self, minion: str) -> None:
        """Record that the references of a deleted minion are known again."""
        with self._database.writing() as connection:
            connection.execute("DELETE FROM deleted_minion WHERE minion = ?", (minion,))


def delete_references(
    connection: Connection, minion: str, references: Iterable[tuple[str, str]]
) -> None:
    """Drop references of a minion, by pillar environment and text."""
    connection.executemany(
        "DELETE FROM subscription WHERE minion = ? AND pillarenv = ? AND reference = ?",
        ((minion, pillarenv, text) for pillarenv, text in references),
    )


def recorded_references(connection: Connection, minion: str) -> tuple[RecordedReference, ...]:
    """Return what the last compiles recorded of a minion's references, with the gone ones."""
    rows = connection.execute(
        "SELECT pillarenv, reference, cluster, answer, digest, changed_at, gone_at"
        " FROM subscription WHERE minion = ?",
        (minion,),
    )
    return tuple(
        RecordedReference(
            pillarenv=row[0],
            reference=row[1],
            cluster=row[2],
            served=row[3] == Answer.SERVED.value,
            digest=row[4],
            changed_at=row[5],
            gone_at=row[6],
        )
        for row in rows
    )


def _diff(
    connection: Connection, minion: str, pillarenv: str, references: Mapping[str, Seen]
) -> tuple[list[_Row], list[str]]:
    """Return the rows that have to be written, and the references that are gone."""
    rows = _rows(connection, "minion = ? AND pillarenv = ?", minion, pillarenv)
    recorded = {row.reference: row for row in rows}
    changed = [
        (minion, pillarenv, text, seen.cluster, seen.answer.value, seen.digest)
        for text, seen in references.items()
        if text not in recorded or recorded[text].gone or recorded[text].seen != seen
    ]
    gone = [text for text, row in recorded.items() if text not in references and not row.gone]
    return changed, gone


def _rows(connection: Connection, where: str, *values: str) -> list[Subscription]:
    query = f"SELECT {_COLUMNS} FROM subscription WHERE {where}"  # noqa: S608
    return [
        Subscription(
            minion=row[0],
            pillarenv=row[1],
            reference=row[2],
            seen=Seen(cluster=row[3], answer=Answer(row[4]), digest=row[5]),
            gone=bool(row[6]),
            ever_served=bool(row[7]),
        )
        for row in connection.execute(query, values)
    ]
