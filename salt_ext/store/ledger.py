"""Who was sent what, and who proved to have applied it."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from sqlite3 import Connection

import msgspec

from salt_ext.core.references.resolve import digest
from salt_ext.core.rollout.drift import LedgerEntry, MinionCluster, OutOfSync, Resolved
from salt_ext.store.database import Database

_COLUMNS = (
    "minion, cluster, applied, applied_at, jid, dispatched, dispatched_at, attempts, next_at,"
    " error, behind_since, failing_since, failed_at, silent, revision, dispatched_revision,"
    " (SELECT at FROM published WHERE published.jid = ledger.jid)"
)

_FINISHED = 3600.0
"""Seconds for which it is known what a job was, beyond the time that it is waited for."""

_MOST_TOOK = 20_000
"""Measured runs that are kept, of all minions and clusters together."""

_DOUBT = "the cluster changed while it was applied: it is applied again"

APPLY, SYNC, ASK = "apply", "sync", "ask"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One publish."""

    jid: str
    at: float
    """When it was sent."""
    class_: str
    function: str
    step: str = APPLY
    """``sync`` when it only brings the minions' modules up to date, ``ask`` when it only has them
    ask for their pillar."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplyTiming:
    """How long a minion took for a change, from the first sight of it to the proof."""

    at: float
    minion: str
    cluster: str
    revision: int | None
    jid: str
    seconds: float


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(dict[str, tuple[str, ...]]).decode


class LedgerTable:
    """Written by the runner when it publishes and by the engine when a job returns."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self) -> dict[MinionCluster, LedgerEntry]:
        """Return every entry."""
        return {(entry.minion, entry.cluster): entry for entry in self._entries("1")}

    def outstanding(self) -> dict[str, list[LedgerEntry]]:
        """Return the entries whose job has not returned, by jid."""
        found: dict[str, list[LedgerEntry]] = {}
        for entry in self._entries("jid IS NOT NULL"):
            found.setdefault(str(entry.jid), []).append(entry)
        return found

    def job(self, jid: str) -> Job | None:
        """Return what was published under a job id."""
        with self._database.reading() as connection:
            row = connection.execute(
                "SELECT jid, at, class, function, step FROM published WHERE jid = ?", (jid,)
            ).fetchone()
        return (
            Job(jid=row[0], at=row[1], class_=row[2], function=row[3], step=row[4]) if row else None
        )

    def told_since(self, at: float, now: float) -> int:
        """
        Return how many minions were published to since then, each time counted.

        What was published later than now was so before the clock was set back.
        """
        with self._database.reading() as connection:
            row = connection.execute(
                "SELECT coalesce(sum(minions), 0) FROM published WHERE at > ? AND at <= ?",
                (at, now),
            ).fetchone()
        return int(row[0])

    def dispatched(
        self,
        job: Job,
        sent: Iterable[OutOfSync],
        revisions: Mapping[str, int] | None = None,
        *,
        chosen_at: float | None = None,
    ) -> None:
        """
        Write down, before it is published, what a job will apply where.

        ``chosen_at`` is of when that is, where it is older than the job.
        """
        rows, chosen_at = list(sent), job.at if chosen_at is None else chosen_at
        minions = len({one.minion for one in rows})
        lists = {one.desired: one.resolved for one in rows}
        with self._database.writing() as connection:
            connection.execute("DELETE FROM published WHERE at < ?", (job.at - _FINISHED * 24,))
            connection.execute(
                "INSERT OR REPLACE INTO published VALUES (?, ?, ?, ?, ?, ?)",
                (job.jid, job.at, job.class_, job.function, job.step, minions),
            )
            known = {
                row[0] for row in connection.execute("SELECT digest FROM served") if row[0] in lists
            }
            connection.executemany(
                "INSERT INTO served VALUES (?, ?)",
                ((text, zlib.compress(_encode(lists[text]), 1)) for text in lists.keys() - known),
            )
            connection.executemany(
                "INSERT INTO ledger (minion, cluster, jid, dispatched, dispatched_at,"
                " dispatched_revision, behind_since)"
                " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET jid = excluded.jid,"
                " dispatched = excluded.dispatched, dispatched_at = excluded.dispatched_at,"
                " dispatched_revision = excluded.dispatched_revision,"
                " behind_since = coalesce(behind_since, excluded.behind_since)",
                (
                    (
                        one.minion,
                        one.cluster,
                        job.jid,
                        one.desired,
                        chosen_at,
                        (revisions or {}).get(one.cluster),
                        chosen_at,
                    )
                    for one in rows
                ),
            )

    def sent(self, jid: str, now: float) -> None:
        """Take that a job has been published: it is missed by what comes after."""
        with self._database.writing() as connection:
            connection.execute("UPDATE published SET at = ? WHERE jid = ?", (now, jid))

    def fell_behind(self, places: Iterable[MinionCluster], now: float) -> None:
        """Write down since when places have been behind, where that is not known."""
        with self._database.writing() as connection:
            connection.executemany(
                "INSERT INTO ledger (minion, cluster, behind_since) VALUES (?, ?, ?)"
                " ON CONFLICT DO UPDATE SET"
                " behind_since = coalesce(behind_since, excluded.behind_since)",
                ((minion, cluster, now) for minion, cluster in places),
            )

    def proven(self, jid: str, minion: str, now: float, *, min_interval: float = 0.0) -> None:
        """
        Take a job's success: what was current when it was published is in force.

        Unless the cluster changed meanwhile, and what the minion's pillar was served may be of a
        moment in between: then nothing is known, also when the cluster is again what it was.
        Either way the minion has run, and needs ``min_interval`` seconds of rest for it.
        """
        with self._database.writing() as connection:
            connection.execute(
                "INSERT INTO rest SELECT minion, dispatched_at + ?1 FROM ledger"
                " WHERE jid = ?2 AND minion = ?3 LIMIT 1"
                " ON CONFLICT DO UPDATE SET rested_at = max(rested_at + ?1, excluded.rested_at)",
                (min_interval, jid, minion),
            )
            # A reference that was gone before the publish is gone from the firewall too.
            connection.execute(
                "DELETE FROM subscription WHERE minion = ?1 AND gone_at <"
                " (SELECT min(dispatched_at) FROM ledger WHERE minion = ?1 AND jid = ?2"
                " AND cluster = subscription.cluster)",
                (minion, jid),
            )
            doubtful = [
                (now, _DOUBT, jid, minion, cluster)
                for cluster in _changed_meanwhile(connection, jid, minion)
                if _served_otherwise(connection, jid, minion, cluster)
            ]
            connection.executemany(
                "UPDATE ledger SET applied = NULL, revision = NULL, applied_at = ?, jid = NULL,"
                " attempts = 0, next_at = 0, error = ?, failing_since = NULL, silent = 0"
                " WHERE jid = ? AND minion = ? AND cluster = ?",
                doubtful,
            )
            added = connection.execute(
                "INSERT INTO took (at, minion, cluster, revision, jid, seconds)"
                " SELECT ?1, minion, cluster, dispatched_revision, jid,"
                " ?1 - coalesce(behind_since, dispatched_at) FROM ledger"
                " WHERE jid = ?2 AND minion = ?3",
                (now, jid, minion),
            ).lastrowid
            connection.execute("DELETE FROM took WHERE id <= ?", ((added or 0) - _MOST_TOOK,))
            connection.execute(
                "UPDATE ledger SET applied = dispatched, applied_at = ?,"
                " revision = dispatched_revision, jid = NULL, attempts = 0, next_at = 0,"
                " error = NULL, behind_since = NULL, failing_since = NULL, silent = 0"
                " WHERE jid = ? AND minion = ?",
                (now, jid, minion),
            )
            connection.execute(
                "DELETE FROM ledger WHERE minion = ?1 AND jid IS NULL AND NOT EXISTS (SELECT 1 FROM"
                " subscription s WHERE s.minion = ?1 AND s.cluster = ledger.cluster)",
                (minion,),
            )
            connection.execute(
                "DELETE FROM served WHERE digest NOT IN (SELECT applied FROM ledger WHERE applied"
                " IS NOT NULL UNION SELECT dispatched FROM ledger WHERE dispatched IS NOT NULL)"
            )

    def unserved(self, jid: str, minion: str) -> list[str]:
        """
        Return the references that a minion's pillar was served otherwise than a job was meant.

        Only of clusters that are as they were when it was published: of the others, and of their
        doubt, :meth:`proven` finds out. A run compiles the pillar of one environment, and nobody
        says which: it is enough that one is right.
        """
        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT pillarenv, reference, answer, subscription.digest, addresses FROM ledger"
                " JOIN cluster ON name = ledger.cluster AND cluster.revision = dispatched_revision"
                " JOIN served ON served.digest = dispatched"
                " JOIN subscription ON subscription.minion = ledger.minion"
                " AND subscription.cluster = ledger.cluster AND gone_at IS NULL"
                " WHERE jid = ? AND ledger.minion = ?",
                (jid, minion),
            ).fetchall()
        wrong: dict[str, list[str]] = {}
        for pillarenv, text, answer, found, blob in rows:
            meant = _digests(blob).get(text)
            if meant is not None:
                mine = wrong.setdefault(pillarenv, [])
                if (answer, found) != ("served", meant):
                    mine.append(text)
        return min(map(sorted, wrong.values()), key=len, default=[])

    def failed(
        self,
        jid: str,
        minion: str,
        error: str,
        *,
        counted: bool,
        next_at: float,
        now: float,
        silent: bool = False,
    ) -> None:
        """Take a job's failure, or its silence."""
        with self._database.writing() as connection:
            connection.execute(
                "UPDATE ledger SET jid = NULL, attempts = attempts + ?1, next_at = ?2, error = ?3,"
                " failing_since = CASE WHEN ?1 THEN coalesce(failing_since, ?4)"
                " ELSE failing_since END,"
                " failed_at = CASE WHEN ?1 THEN ?4 ELSE failed_at END,"
                " silent = CASE WHEN ?1 THEN ?5 ELSE silent END"
                " WHERE jid = ?6 AND minion = ?7",
                (int(counted), next_at, error, now, int(silent), jid, minion),
            )

    def rested(self) -> dict[str, float]:
        """
        Return when each minion has rested from all of its runs.

        Each run adds to it what one rest takes, so it tells how many there were lately.
        """
        with self._database.reading() as connection:
            return dict(connection.execute("SELECT minion, rested_at FROM rest").fetchall())

    def synced(self, jid: str, minion: str, version: str) -> None:
        """Take that a minion's modules are up to date; what was to be applied still is."""
        with self._database.writing() as connection:
            connection.execute("INSERT OR REPLACE INTO module VALUES (?, ?)", (minion, version))
            _not_applied(connection, jid, minion)

    def asked(self, jid: str, minion: str) -> None:
        """Take that a minion asks for its pillar; what was to be applied still is."""
        with self._database.writing() as connection:
            _not_applied(connection, jid, minion)

    def has_module(self, minion: str, version: str) -> None:
        """Take a minion's word for the version of our module that it has."""
        with self._database.writing() as connection:
            connection.execute("INSERT OR REPLACE INTO module VALUES (?, ?)", (minion, version))

    def lacks_module(self, minion: str) -> None:
        """Take that a minion does not have our module, whatever it was brought before."""
        with self._database.writing() as connection:
            connection.execute("DELETE FROM module WHERE minion = ?", (minion,))

    def modules(self) -> dict[str, str]:
        """Return the version of our module that each minion was brought to, or has told."""
        with self._database.reading() as connection:
            return dict(connection.execute("SELECT minion, version FROM module").fetchall())

    def ends_connections(self, minion: str, *, able: bool) -> None:
        """Take a minion's word for whether it can end connections of who has left."""
        if able == (minion not in self.endless()):
            return
        with self._database.writing() as connection:
            if able:
                connection.execute("DELETE FROM endless WHERE minion = ?", (minion,))
            else:
                connection.execute("INSERT OR IGNORE INTO endless VALUES (?)", (minion,))

    def endless(self) -> frozenset[str]:
        """Return the minions that cannot end the connections of who has left."""
        with self._database.reading() as connection:
            rows = connection.execute("SELECT minion FROM endless").fetchall()
        return frozenset(minion for (minion,) in rows)

    def void(self, minion: str, why: str, now: float) -> bool:
        """
        Take that nothing of what a minion proved is certain any more, nor will its job return.

        Returns whether anything was known of it.
        """
        with self._database.writing() as connection:
            found = connection.execute(
                "UPDATE ledger SET applied = NULL, jid = NULL, dispatched = NULL, next_at = 0,"
                " error = ?2, behind_since = coalesce(behind_since, ?3) WHERE minion = ?1",
                (minion, why, now),
            )
            return found.rowcount > 0

    def hurry(self, minion: str) -> bool:
        """Take that a minion that did not return is there; whether one is tried again now."""
        with self._database.writing() as connection:
            found = connection.execute(
                "UPDATE ledger SET next_at = 0 WHERE minion = ? AND silent AND next_at > 0",
                (minion,),
            )
            return found.rowcount > 0

    def served(self, digest: str) -> Resolved | None:
        """Return the addresses that a digest stands for, None when they are not kept."""
        with self._database.reading() as connection:
            row = connection.execute(
                "SELECT addresses FROM served WHERE digest = ?", (digest,)
            ).fetchone()
            try:
                return _decode(zlib.decompress(row[0])) if row else None
            except zlib.error as exc:
                raise ValueError(str(exc)) from exc

    def took(self, cluster: str, most: int) -> list[ApplyTiming]:
        """Return the newest measured runs of a cluster, newest first."""
        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT at, minion, cluster, revision, jid, seconds FROM took WHERE cluster = ?"
                " ORDER BY id DESC LIMIT ?",
                (cluster, most),
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

    def _entries(self, where: str) -> list[LedgerEntry]:
        with self._database.reading() as connection:
            found = connection.execute(
                f"SELECT {_COLUMNS} FROM ledger WHERE {where}"  # noqa: S608
            ).fetchall()
        return [
            LedgerEntry(
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
                behind_since=row[10],
                failing_since=row[11],
                failed_at=row[12],
                silent=bool(row[13]),
                revision=row[14],
                dispatched_revision=row[15],
                sent_at=row[16],
            )
            for row in found
        ]


def _not_applied(connection: Connection, jid: str, minion: str) -> None:
    connection.execute(
        "UPDATE ledger SET jid = NULL, dispatched = NULL, next_at = 0 WHERE jid = ? AND minion = ?",
        (jid, minion),
    )


@lru_cache(maxsize=64)
def _digests(blob: bytes) -> dict[str, str]:
    """Return the digest of each reference's addresses; many minions were meant the same."""
    return {text: digest({text: lines}) for text, lines in _decode(zlib.decompress(blob)).items()}


def _changed_meanwhile(connection: Connection, jid: str, minion: str) -> list[str]:
    """Return the clusters of a job that have another revision than when it was published."""
    rows = connection.execute(
        "SELECT cluster FROM ledger JOIN cluster ON name = cluster"
        " WHERE jid = ? AND minion = ? AND cluster.revision <> dispatched_revision",
        (jid, minion),
    )
    return [cluster for (cluster,) in rows.fetchall()]


def _served_otherwise(connection: Connection, jid: str, minion: str, cluster: str) -> bool:
    """
    Whether some compile since a job was published may have served anything but what it was for.

    A compile that is served what the one before it was writes nothing.
    """
    dispatched_at, blob = connection.execute(
        "SELECT dispatched_at, addresses FROM ledger LEFT JOIN served ON digest = dispatched"
        " WHERE jid = ? AND minion = ? AND cluster = ?",
        (jid, minion, cluster),
    ).fetchone()
    rows = connection.execute(
        "SELECT reference, digest, changed_at FROM subscription"
        " WHERE minion = ? AND cluster = ? AND answer = 'served' AND gone_at IS NULL",
        (minion, cluster),
    ).fetchall()
    meant = _digests(blob) if blob is not None else {}
    recorded = {(text, found) for text, found, _ in rows}
    return (
        any(changed_at >= dispatched_at for _, _, changed_at in rows)
        or set(meant.items()) != recorded
    )
