"""Departed addresses of each minion: open until there is evidence, and kept for months after."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from sqlite3 import Connection

from salt_ext.core.rollout.departures import Closing, Departure, Findings, State
from salt_ext.core.rollout.drift import MinionCluster, Resolved
from salt_ext.store import address_sets
from salt_ext.store.database import Database

MAX_PER_MINION = 10_000
MAX_IN_ALL = 1_000_000
KEPT = 180 * 86_400.0
"""Seconds for which a departure is kept after its end: a reload may bring its rule back."""

_COLUMNS = (
    "minion, address, cluster, cause, since, state, evidence, open_by, checked_at, ended_at,"
    " reported"
)
_CLOSING_COLUMNS = "minion, jid, sent_at, attempts, next_at, error, checked_at, dropped"


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineChange:
    """The addresses that one minion should have of one cluster have changed."""

    minion: str
    cluster: str
    before: str | None
    """Digest of the baseline that the change was computed from; None where there was none."""
    after: str | None
    """Digest of the new one; None where the minion references the cluster no more."""
    departed: Mapping[str, str] = field(default_factory=dict)
    """Address to cause."""
    returned: Collection[str] = ()


class DepartureTable:
    """Written with each view, before each publish, and from what jobs returned."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def open(self) -> list[Departure]:
        """Return the departures that are still open, ordered by minion."""
        with self._database.reading() as connection:
            return _rows(connection, "state = 'open' ORDER BY minion, address")

    def unreported(self, before: float) -> list[Departure]:
        """Return the open ones that began before a time, and that no event has named."""
        with self._database.reading() as connection:
            return _rows(
                connection,
                "state = 'open' AND NOT reported AND since <= ? ORDER BY minion, address",
                before,
            )

    def ended_of(self, minions: Iterable[str], limit: int) -> dict[str, list[Departure]]:
        """Return the newest ``limit`` closed or spared ones of each of these minions."""
        with self._database.reading() as connection:
            ended = {
                minion: _rows(
                    connection,
                    "minion = ? AND state IN ('closed', 'spared') ORDER BY ended_at DESC LIMIT ?",
                    minion,
                    limit,
                )
                for minion in minions
            }
        return {minion: rows for minion, rows in ended.items() if rows}

    def since(self, cluster: str, at: float, limit: int) -> list[Departure]:
        """Return the departures of one cluster that began at one time, open ones first."""
        with self._database.reading() as connection:
            return _rows(
                connection,
                "cluster = ? AND since = ? ORDER BY state <> 'open', minion, address LIMIT ?",
                cluster,
                at,
                limit,
            )

    def of(self, minion: str) -> list[Departure]:
        """Return all departures of one minion."""
        with self._database.reading() as connection:
            return _rows(connection, "minion = ?", minion)

    def of_addresses(self, addresses: Collection[str]) -> list[Departure]:
        """Return the departures of any of these addresses and networks, on all minions."""
        marks = ", ".join("?" * len(addresses))
        with self._database.reading() as connection:
            return _rows(connection, f"address IN ({marks}) ORDER BY minion", *addresses)

    def closings(self) -> dict[str, Closing]:
        """Return how far each minion with departures is."""
        with self._database.reading() as connection:
            return {one.minion: one for one in _closings(connection, "1")}

    def outstanding(self) -> dict[str, list[Closing]]:
        """Return the minions whose job for departures has not returned, by jid."""
        by_jid: dict[str, list[Closing]] = {}
        for closing in self.closings().values():
            if closing.jid is not None:
                by_jid.setdefault(closing.jid, []).append(closing)
        return by_jid

    def baselines(self) -> dict[MinionCluster, str]:
        """Return the digest from which the next departures of each are computed."""
        with self._database.reading() as connection:
            rows = connection.execute("SELECT minion, cluster, digest FROM departure_baseline")
            return {(minion, cluster): digest for minion, cluster, digest in rows}

    def advance(
        self, changes: Collection[BaselineChange], sets: Mapping[str, Resolved], now: float
    ) -> list[BaselineChange]:
        """
        Write down departures and their new baselines; ``sets`` are the addresses of new digests.

        Returns the changes that were written: another process may have been first.
        """
        written = []
        with self._database.writing() as connection:
            address_sets.add(connection, sets)
            for change in changes:
                if _move_baseline(connection, change):
                    _want(connection, change.minion, change.returned, now)
                    _depart(connection, change.minion, change.cluster, change.departed, now)
                    written.append(change)
            _make_room(connection, now)
        return written

    def want(self, wanted: Mapping[str, Collection[str]], now: float) -> None:
        """End the departures of addresses that are wanted again, by minion."""
        with self._database.writing() as connection:
            for minion, addresses in wanted.items():
                _want(connection, minion, addresses, now)

    def record_closing(
        self,
        jid: str,
        minion: str,
        *,
        error: str,
        counted: bool,
        next_at: float,
    ) -> None:
        """Record that a job for a minion's departures has proven nothing."""
        with self._database.writing() as connection:
            connection.execute(
                "UPDATE closing SET jid = NULL, attempts = attempts + ?, next_at = ?, error = ?"
                " WHERE jid = ? AND minion = ?",
                (int(counted), next_at, error, jid, minion),
            )

    def report(self, departures: Iterable[Departure]) -> None:
        """Record that an event has named these departures."""
        with self._database.writing() as connection:
            connection.executemany(
                "UPDATE departure SET reported = 1 WHERE minion = ? AND address = ?",
                ((one.minion, one.address) for one in departures),
            )


def mark_dispatched(connection: Connection, jid: str, at: float, minions: Iterable[str]) -> None:
    """Write down which job is to close or check the departures of minions."""
    connection.executemany(
        "INSERT INTO closing (minion, jid, sent_at) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET"
        " jid = excluded.jid, sent_at = excluded.sent_at",
        ((minion, jid, at) for minion in minions),
    )


def depart_all(
    connection: Connection,
    cluster: str,
    departed: Iterable[tuple[Collection[str], Mapping[str, str]]],
    now: float,
) -> None:
    """Write down the addresses that one view of a cluster took from groups of minions."""
    any_written = False
    for minions, causes in departed:
        for minion in minions:
            _depart(connection, minion, cluster, causes, now)
            any_written = True
    if any_written:
        _make_room(connection, now)


def settle(
    connection: Connection,
    jid: str,
    minion: str,
    findings: Findings,
    now: float,
    *,
    attempts: int,
    retry_at: float,
) -> None:
    """Write down what a return proves; what it leaves open is tried again at ``retry_at``."""
    connection.executemany(
        f"INSERT OR REPLACE INTO departure ({_COLUMNS})"  # noqa: S608
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            (
                *(one.minion, one.address, one.cluster, one.cause, one.since, one.state.value),
                *(one.evidence, one.open_by, one.checked_at, one.ended_at, int(one.reported)),
            )
            for one in findings.changed
        ),
    )
    # What a run does not name has not been tried: a job that closes it follows at once.
    tried = findings.remaining and not findings.untried
    connection.execute(
        "INSERT INTO closing (minion, attempts, next_at, error, checked_at) VALUES (?1, ?2, ?3, ?4,"
        " ?5) ON CONFLICT DO UPDATE SET attempts = ?2, next_at = ?3, error = ?4,"
        " checked_at = coalesce(?5, checked_at),"
        " jid = CASE WHEN jid = ?6 THEN NULL ELSE jid END",
        (
            minion,
            attempts + 1 if tried else 0,
            retry_at if tried else 0.0,
            findings.error,
            None if findings.error else now,
            jid,
        ),
    )
    _make_room(connection, now, minion)


def end_job(connection: Connection, jid: str, minion: str) -> None:
    """Record that a job has prepared a minion; its departures are still due."""
    connection.execute(
        "UPDATE closing SET jid = NULL, next_at = 0 WHERE jid = ? AND minion = ?", (jid, minion)
    )


def invalidate(connection: Connection, minion: str) -> None:
    """Forget the job of a minion, which will not return."""
    connection.execute("UPDATE closing SET jid = NULL, next_at = 0 WHERE minion = ?", (minion,))


def delete(connection: Connection, minion: str) -> None:
    """Drop all departures of a minion without a key."""
    for table in ("departure", "closing", "departure_baseline", "late_job"):
        connection.execute(f"DELETE FROM {table} WHERE minion = ?", (minion,))  # noqa: S608


def of_minion(connection: Connection, minion: str) -> tuple[Departure, ...]:
    """Return the departures of one minion."""
    return tuple(_rows(connection, "minion = ?", minion))


def closing_of(connection: Connection, minion: str) -> Closing | None:
    """Return how far a minion is with its departures."""
    return next(iter(_closings(connection, "minion = ?", minion)), None)


def _move_baseline(connection: Connection, change: BaselineChange) -> bool:
    key = change.minion, change.cluster
    if change.before is None:
        moved = connection.execute(
            "INSERT OR IGNORE INTO departure_baseline VALUES (?, ?, ?)", (*key, change.after or "")
        )
    elif change.after is None:
        moved = connection.execute(
            "DELETE FROM departure_baseline WHERE minion = ? AND cluster = ? AND digest = ?",
            (*key, change.before),
        )
    else:
        moved = connection.execute(
            "UPDATE departure_baseline SET digest = ? WHERE minion = ? AND cluster = ?"
            " AND digest = ?",
            (change.after, *key, change.before),
        )
    return moved.rowcount > 0


def _depart(
    connection: Connection, minion: str, cluster: str, causes: Mapping[str, str], now: float
) -> None:
    """Begin departures, or let them begin anew; an open one keeps its time and its cause."""
    if not causes:
        return
    connection.executemany(
        "INSERT INTO departure (minion, address, cluster, cause, since) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT DO UPDATE SET cluster = excluded.cluster, cause = excluded.cause,"
        " since = excluded.since, state = 'open', evidence = '', open_by = '', checked_at = NULL,"
        " ended_at = NULL, reported = 0 WHERE state <> 'open'",
        ((minion, address, cluster, cause, now) for address, cause in causes.items()),
    )
    connection.execute(
        "INSERT INTO closing (minion) VALUES (?) ON CONFLICT DO UPDATE SET"
        " attempts = 0, next_at = 0, error = ''",
        (minion,),
    )
    _make_room_for(connection, minion)


def _want(connection: Connection, minion: str, addresses: Iterable[str], now: float) -> None:
    connection.executemany(
        "UPDATE departure SET state = ?, evidence = '', open_by = '', ended_at = ?"
        " WHERE minion = ? AND address = ? AND state <> ?",
        ((State.WANTED.value, now, minion, address, State.WANTED.value) for address in addresses),
    )
    # Nothing of this minion has to be looked for again.
    connection.execute(
        "DELETE FROM closing WHERE minion = ?1 AND jid IS NULL AND NOT dropped AND NOT EXISTS"
        " (SELECT 1 FROM departure WHERE minion = ?1 AND state <> ?2)",
        (minion, State.WANTED.value),
    )


def _make_room_for(connection: Connection, minion: str) -> None:
    """Keep a minion within its bound: ended ones go first, and open ones are counted."""
    (count,) = connection.execute(
        "SELECT count(*) FROM departure WHERE minion = ?", (minion,)
    ).fetchone()
    if count > MAX_PER_MINION:
        _drop(connection, count - MAX_PER_MINION, "minion = ?", minion)


def _make_room(connection: Connection, now: float, minion: str | None = None) -> None:
    purged = connection.execute("DELETE FROM departure WHERE ended_at < ?", (now - KEPT,))
    if purged.rowcount:
        connection.execute(
            "DELETE FROM closing WHERE jid IS NULL AND NOT dropped AND NOT EXISTS"
            " (SELECT 1 FROM departure WHERE departure.minion = closing.minion)"
        )
    if minion is not None:
        _make_room_for(connection, minion)
        return
    (count,) = connection.execute("SELECT count(*) FROM departure").fetchone()
    if count > MAX_IN_ALL:
        _drop(connection, count - MAX_IN_ALL, "1")


def _drop(connection: Connection, number: int, where: str, *values: str) -> None:
    """Drop the oldest ended departures, then the newest open ones, which are counted."""
    rows = connection.execute(
        f"SELECT minion, address, state FROM departure WHERE {where}"  # noqa: S608
        " ORDER BY state = 'open', ended_at, since DESC, address DESC LIMIT ?",
        (*values, number),
    ).fetchall()
    connection.executemany(
        "DELETE FROM departure WHERE minion = ? AND address = ?", (row[:2] for row in rows)
    )
    opened = sorted(row[0] for row in rows if row[2] == State.OPEN.value)
    connection.executemany(
        "UPDATE closing SET dropped = dropped + ? WHERE minion = ?",
        ((len(list(group)), minion) for minion, group in groupby(opened)),
    )


def _rows(connection: Connection, where: str, *values: object) -> list[Departure]:
    query = f"SELECT {_COLUMNS} FROM departure WHERE {where}"  # noqa: S608
    return [
        Departure(
            minion=row[0],
            address=row[1],
            cluster=row[2],
            cause=row[3],
            since=row[4],
            state=State(row[5]),
            evidence=row[6],
            open_by=row[7],
            checked_at=row[8],
            ended_at=row[9],
            reported=bool(row[10]),
        )
        for row in connection.execute(query, values)
    ]


def _closings(connection: Connection, where: str, *values: object) -> list[Closing]:
    query = f"SELECT {_CLOSING_COLUMNS} FROM closing WHERE {where}"  # noqa: S608
    return [
        Closing(
            minion=row[0],
            jid=row[1],
            sent_at=row[2],
            attempts=row[3],
            next_at=row[4],
            error=row[5],
            checked_at=row[6],
            dropped=row[7],
        )
        for row in connection.execute(query, values)
    ]
