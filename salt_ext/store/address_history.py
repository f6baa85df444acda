"""Since when and until when nodes of each cluster had which address, and by which revision."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from sqlite3 import Connection

from salt_ext.core.cluster.member import Member
from salt_ext.core.cluster.snapshot import Snapshot
from salt_ext.store import address_sets
from salt_ext.store.database import Database

MAX_CLOSED_OF_NODE = 200
"""Ended intervals of one node that are kept: its kubelet can claim another address each second."""
MAX_CLOSED_OF_CLUSTER = 50_000

_TRIM_EVERY = 64
"""Revisions between two counts of a whole cluster, which take some milliseconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """One address of one node in the stored view of a cluster; times as in the snapshots."""

    cluster: str
    node: str
    address: str
    """Or a network, without host bits."""
    opened_at: float
    opened_revision: int
    let_in_by: str
    """Token of the confirmation that let it in; empty where no guard had held it."""
    closed_at: float | None
    """None while the newest view has it."""
    closed_revision: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvenAddress:
    """One minion that has proven a set of addresses with this one in it, and has it still."""

    cluster: str
    minion: str
    since: float
    revision: int | None


class AddressHistoryTable:
    """Written with each view that is saved."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of(self, addresses: Collection[str]) -> list[Interval]:
        """Return the intervals of any of these addresses and networks, newest first."""
        marks = ", ".join("?" * len(addresses))
        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT cluster, node, address, opened_at, opened_revision, let_in_by, closed_at,"  # noqa: S608
                f" closed_revision FROM address_history WHERE address IN ({marks})"
                " ORDER BY opened_at DESC, id DESC",
                tuple(addresses),
            )
            return [
                Interval(
                    cluster=row[0],
                    node=row[1],
                    address=row[2],
                    opened_at=row[3],
                    opened_revision=row[4],
                    let_in_by=row[5],
                    closed_at=row[6],
                    closed_revision=row[7],
                )
                for row in rows
            ]

    def in_force(self, addresses: Collection[str]) -> list[ProvenAddress]:
        """Return the minions whose last proof has any of these addresses."""
        wanted = frozenset(addresses)
        with self._database.reading() as connection:
            digests = connection.execute("SELECT digest, addresses FROM address_set").fetchall()
            having = [
                digest
                for digest, blob in digests
                if any(not wanted.isdisjoint(texts) for texts in address_sets.unpack(blob).values())
            ]
            rows = [
                row
                for digest in having
                for row in connection.execute(
                    "SELECT cluster, minion, applied_at, revision FROM ledger WHERE applied = ?",
                    (digest,),
                )
            ]
        return [
            ProvenAddress(cluster=row[0], minion=row[1], since=row[2] or 0.0, revision=row[3])
            for row in sorted(rows)
        ]

    def first_proofs(self, interval: Interval) -> dict[str, float]:
        """Return when each minion first proved a view of the cluster with this interval in it."""
        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT minion, min(at) FROM timing WHERE cluster = ? AND at >= ?"
                " AND revision >= ? AND at <= ? GROUP BY minion",
                (
                    interval.cluster,
                    interval.opened_at,
                    interval.opened_revision,
                    1e300 if interval.closed_at is None else interval.closed_at,
                ),
            )
            return dict(rows.fetchall())


def save(
    connection: Connection,
    snapshot: Snapshot,
    put: Collection[Member],
    drop: Iterable[str],
    let_in_by: Mapping[str, str],
) -> None:
    """Write down what a new view opens and closes; ``let_in_by`` has tokens by node."""
    cluster = snapshot.cluster
    wanted: dict[str, set[str]] = {name: set() for name in drop}
    for member in put:
        wanted[member.name] = {str(item) for item in member.all_addresses()}
    opened: list[tuple[object, ...]] = []
    closed: dict[str, list[int]] = {}
    for node, addresses in wanted.items():
        had = dict(
            connection.execute(
                "SELECT address, id FROM address_history"
                " WHERE cluster = ? AND node = ? AND closed_at IS NULL",
                (cluster, node),
            ).fetchall()
        )
        by = let_in_by.get(node, "")
        opened.extend(
            (cluster, node, address, snapshot.observed_at, snapshot.revision, by)
            for address in sorted(addresses - had.keys())
        )
        if gone := sorted(had.keys() - addresses):
            closed[node] = [had[address] for address in gone]
    connection.executemany(
        "INSERT INTO address_history (cluster, node, address, opened_at, opened_revision,"
        " let_in_by) VALUES (?, ?, ?, ?, ?, ?)",
        opened,
    )
    connection.executemany(
        "UPDATE address_history SET closed_at = ?, closed_revision = ? WHERE id = ?",
        (
            (snapshot.observed_at, snapshot.revision, number)
            for numbers in closed.values()
            for number in numbers
        ),
    )
    _make_room(connection, snapshot, closed)


def _make_room(connection: Connection, snapshot: Snapshot, closed: Mapping[str, list[int]]) -> None:
    """Drop the intervals that were opened first, of those that have ended."""
    for node in closed:
        connection.execute(
            "DELETE FROM address_history WHERE id IN (SELECT id FROM address_history"
            " WHERE cluster = ? AND node = ? AND closed_at IS NOT NULL"
            " ORDER BY closed_at DESC, id DESC LIMIT -1 OFFSET ?)",
            (snapshot.cluster, node, MAX_CLOSED_OF_NODE),
        )
    if sum(map(len, closed.values())) >= _TRIM_EVERY or snapshot.revision % _TRIM_EVERY == 0:
        connection.execute(
            "DELETE FROM address_history WHERE id IN (SELECT id FROM address_history"
            " WHERE cluster = ? AND closed_at IS NOT NULL ORDER BY id DESC LIMIT -1 OFFSET ?)",
            (snapshot.cluster, MAX_CLOSED_OF_CLUSTER),
        )
