"""The ledger: what each minion was sent, what it proved to have applied, and what failed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from sqlite3 import Connection

from salt_ext.core.rollout.drift import LedgerEntry, MinionCluster, OutOfSync
from salt_ext.core.rollout.judgement import (
    ClusterProof,
    DispatchedCluster,
    Evidence,
    Judgement,
    Outcome,
)
from salt_ext.store import address_sets, departures, job_rows, minion_facts, subscriptions, timings
from salt_ext.store.database import Database

_COLUMNS = (
    "minion, cluster, applied, applied_at, jid, dispatched, dispatched_at, attempts, next_at,"
    " error, behind_since, failing_since, failed_at, silent, revision, dispatched_revision,"
    " (SELECT at FROM job WHERE job.jid = ledger.jid), running_at"
)

_MAX_LATE = 4
"""Jobs of one minion that are looked for after it was given up."""

_CLOSED_MEANWHILE = "an address was closed while it was wanted again; re-applying"


class AppliedTable:
    """An entry for each minion and cluster; written by the engine from what jobs returned."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self) -> dict[MinionCluster, LedgerEntry]:
        """Return every entry."""
        return {(entry.minion, entry.cluster): entry for entry in self._entries("1")}

    def out_of_sync_minions(self) -> int:
        """Return how many minions are known to be out of sync."""
        with self._database.reading() as connection:
            (count,) = connection.execute(
                "SELECT count(DISTINCT minion) FROM ledger WHERE behind_since IS NOT NULL"
            ).fetchone()
        return int(count)

    def outstanding(self) -> dict[str, list[LedgerEntry]]:
        """Return the entries whose job has not returned, by jid."""
        by_jid: dict[str, list[LedgerEntry]] = {}
        for entry in self._entries("jid IS NOT NULL"):
            by_jid.setdefault(str(entry.jid), []).append(entry)
        return by_jid

    def mark_out_of_sync(self, pairs: Iterable[MinionCluster], now: float) -> None:
        """Write down since when minions have been out of sync, where that is not known."""
        with self._database.writing() as connection:
            connection.executemany(
                "INSERT INTO ledger (minion, cluster, behind_since) VALUES (?, ?, ?)"
                " ON CONFLICT DO UPDATE SET"
                " behind_since = coalesce(behind_since, excluded.behind_since)",
                ((minion, cluster, now) for minion, cluster in pairs),
            )

    def evidence(self, jid: str, minion: str, *, compiles: bool = False) -> Evidence:
        """Return all that is known of a job and a minion, for a judgement of its return."""
        with self._database.reading() as connection:
            return Evidence(
                jid=jid,
                minion=minion,
                job=job_rows.get(connection, jid),
                clusters=tuple(_dispatched(connection, jid, minion)),
                references=subscriptions.recorded_references(connection, minion),
                departures=departures.of_minion(connection, minion),
                closing=departures.closing_of(connection, minion),
                attempts=_attempts(connection, minion),
                compiles=compiles,
            )

    def settle(
        self,
        judgement: Judgement,
        now: float,
        *,
        min_interval: float = 0.0,
        next_at: float = 0.0,
        close_at: float = 0.0,
        module_version: str = "",
    ) -> None:
        """
        Write down what a return proves, in one transaction.

        After a failure the next run is due at ``next_at``; what stays open is tried again at
        ``close_at``. A run counts for the minion's pacing with ``min_interval`` seconds.
        """
        jid, minion = judgement.jid, judgement.minion
        with self._database.writing() as connection:
            if judgement.findings is not None:
                departures.settle(
                    connection,
                    jid,
                    minion,
                    judgement.findings,
                    now,
                    attempts=judgement.closing_attempts,
                    retry_at=close_at,
                )
                _undo(connection, minion, judgement.findings.undone, now)
            if judgement.problems is not None:
                minion_facts.put_problems(connection, minion, judgement.problems, now)
            if judgement.outcome is Outcome.PROVEN:
                _prove(connection, judgement, now, min_interval)
            elif judgement.outcome is Outcome.MODULES_SYNCED:
                minion_facts.put_module_version(connection, minion, module_version)
                _end_job_unapplied(connection, jid, minion)
            elif judgement.outcome is Outcome.PILLAR_REFRESHED:
                _end_job_unapplied(connection, jid, minion)
            elif judgement.outcome is not Outcome.CHECKED:
                _fail(
                    connection,
                    jid,
                    minion,
                    judgement.error,
                    counted=judgement.outcome is Outcome.FAILED,
                    next_at=next_at,
                    now=now,
                    silent=False,
                )
            connection.execute("DELETE FROM late_job WHERE jid = ? AND minion = ?", (jid, minion))

    def late(self) -> dict[str, list[str]]:
        """Return the minions that were given up for a job, by jid: they may still return."""
        by_jid: dict[str, list[str]] = {}
        with self._database.reading() as connection:
            for jid, minion in connection.execute("SELECT DISTINCT jid, minion FROM late_job"):
                by_jid.setdefault(jid, []).append(minion)
        return by_jid

    def clusters(self) -> frozenset[str]:
        """Return the clusters with anything that is due, or was: configured or not."""
        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT cluster FROM ledger UNION SELECT cluster FROM departure_baseline"
                " UNION SELECT cluster FROM departure WHERE state = 'open'"
                " UNION SELECT cluster FROM subscription WHERE ever_served"
            ).fetchall()
        return frozenset(cluster for (cluster,) in rows if cluster)

    def record_running(self, jid: str, minions: Iterable[str], now: float) -> None:
        """Record that minions have answered that a job still runs there."""
        with self._database.writing() as connection:
            connection.executemany(
                "UPDATE ledger SET running_at = ? WHERE jid = ? AND minion = ?",
                ((now, jid, minion) for minion in minions),
            )

    def record_failure(
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
        """
        Record a job's failure; ``silent`` where the minion did not return at all.

        One that is not ``counted`` neither lengthens the wait nor counts as failing: a busy
        minion, or a master that did not publish.
        """
        with self._database.writing() as connection:
            if silent:
                # A success that comes late is a success.
                connection.execute(
                    "INSERT OR REPLACE INTO late_job SELECT minion, cluster, jid, dispatched,"
                    " dispatched_at, dispatched_revision, behind_since FROM ledger"
                    " WHERE jid = ? AND minion = ?",
                    (jid, minion),
                )
                connection.execute(
                    "DELETE FROM late_job WHERE minion = ?1 AND jid NOT IN (SELECT jid FROM"
                    " late_job WHERE minion = ?1 GROUP BY jid ORDER BY max(dispatched_at) DESC"
                    " LIMIT ?2)",
                    (minion, _MAX_LATE),
                )
            _fail(
                connection,
                jid,
                minion,
                error,
                counted=counted,
                next_at=next_at,
                now=now,
                silent=silent,
            )

    def invalidate(self, minion: str, why: str, now: float) -> bool:
        """
        Drop what a minion has proved, and the job that it was sent, which will not return.

        Returns whether the ledger had anything of it.
        """
        with self._database.writing() as connection:
            updated = connection.execute(
                "UPDATE ledger SET applied = NULL, jid = NULL, dispatched = NULL, next_at = 0,"
                " error = ?2, behind_since = coalesce(behind_since, ?3) WHERE minion = ?1",
                (minion, why, now),
            )
            connection.execute("DELETE FROM late_job WHERE minion = ?", (minion,))
            departures.invalidate(connection, minion)
            return updated.rowcount > 0

    def retry_now(self, minion: str) -> bool:
        """End the wait of a minion that had not returned; False when it was not waiting."""
        with self._database.writing() as connection:
            updated = connection.execute(
                "UPDATE ledger SET next_at = 0 WHERE minion = ? AND silent AND next_at > 0",
                (minion,),
            )
            return updated.rowcount > 0

    def _entries(self, where: str) -> list[LedgerEntry]:
        with self._database.reading() as connection:
            rows = connection.execute(
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
                running_at=row[17],
            )
            for row in rows
        ]


def mark_dispatched(
    connection: Connection,
    jid: str,
    at: float,
    rows: Iterable[OutOfSync],
    revisions: Mapping[str, int],
) -> None:
    """Write down which job is to bring each minion in sync, and with what."""
    connection.executemany(
        "INSERT INTO ledger (minion, cluster, jid, dispatched, dispatched_at,"
        " dispatched_revision, behind_since)"
        " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET jid = excluded.jid,"
        " dispatched = excluded.dispatched, dispatched_at = excluded.dispatched_at,"
        " dispatched_revision = excluded.dispatched_revision, running_at = NULL,"
        " behind_since = coalesce(behind_since, excluded.behind_since)",
        (
            (row.minion, row.cluster, jid, row.desired, at, revisions.get(row.cluster), at)
            for row in rows
        ),
    )


def _undo(connection: Connection, minion: str, clusters: Iterable[str], now: float) -> None:
    """
    Drop the proof of clusters, and the run in flight: addresses were closed that are wanted again.

    The minion has compiled the pillar of the job that closes before they were wanted, and may have
    deleted what the run has just opened.
    """
    connection.executemany(
        "UPDATE ledger SET applied = NULL, jid = NULL, dispatched = NULL, next_at = 0, error = ?,"
        " behind_since = coalesce(behind_since, ?) WHERE minion = ? AND cluster = ?",
        ((_CLOSED_MEANWHILE, now, minion, cluster) for cluster in clusters),
    )


def _end_job_unapplied(connection: Connection, jid: str, minion: str) -> None:
    connection.execute(
        "UPDATE ledger SET jid = NULL, dispatched = NULL, next_at = 0 WHERE jid = ? AND minion = ?",
        (jid, minion),
    )
    departures.end_job(connection, jid, minion)


def _attempts(connection: Connection, minion: str) -> int:
    row = connection.execute(
        "SELECT max(attempts) FROM ledger WHERE minion = ?", (minion,)
    ).fetchone()
    return int(row[0] or 0)


def _dispatched(connection: Connection, jid: str, minion: str) -> Iterator[DispatchedCluster]:
    """Yield what a job was to bring a minion, also where the minion was given up since."""
    for table, late in (("ledger", False), ("late_job", True)):
        rows = connection.execute(
            f"SELECT cluster, dispatched, dispatched_at, dispatched_revision,"  # noqa: S608
            " (SELECT revision FROM cluster WHERE name = cluster),"
            " (SELECT addresses FROM address_set WHERE digest = dispatched)"
            f" FROM {table} WHERE jid = ? AND minion = ? ORDER BY cluster",
            (jid, minion),
        ).fetchall()
        for cluster, digest, at, revision, revision_now, blob in rows:
            yield DispatchedCluster(
                cluster=cluster,
                digest=digest,
                at=at or 0.0,
                revision=revision,
                revision_now=revision_now,
                references=address_sets.reference_digests(blob) if blob is not None else None,
                late=late,
            )


def _prove(connection: Connection, judgement: Judgement, now: float, min_interval: float) -> None:
    jid, minion = judgement.jid, judgement.minion
    if not judgement.proofs:
        return
    dispatched_at = min(proof.dispatched_at for proof in judgement.proofs)
    minion_facts.count_run(connection, minion, dispatched_at, min_interval)
    subscriptions.delete_references(connection, minion, judgement.acknowledged)
    for proof in judgement.proofs:
        _prove_cluster(connection, jid, minion, proof, now)
    connection.execute(
        "DELETE FROM late_job WHERE minion = ? AND dispatched_at <= ?", (minion, dispatched_at)
    )
    connection.execute(
        "DELETE FROM ledger WHERE minion = ?1 AND jid IS NULL AND NOT EXISTS (SELECT 1 FROM"
        " subscription s WHERE s.minion = ?1 AND s.cluster = ledger.cluster)",
        (minion,),
    )
    address_sets.delete_unused(connection)


def _prove_cluster(
    connection: Connection, jid: str, minion: str, proof: ClusterProof, now: float
) -> None:
    row = connection.execute(
        "SELECT jid, applied_at, behind_since, dispatched FROM ledger"
        " WHERE minion = ? AND cluster = ?",
        (minion, proof.cluster),
    ).fetchone()
    if row is None:
        return
    in_flight, applied_at, behind_since, dispatched = row
    if in_flight != jid and applied_at is not None and applied_at > proof.dispatched_at:
        # A later job has proven something newer.
        return
    if proof.digest is not None:
        seconds = now - (behind_since or proof.dispatched_at)
        timing = timings.ApplyTiming(
            at=now,
            minion=minion,
            cluster=proof.cluster,
            revision=proof.revision,
            jid=jid,
            seconds=seconds,
        )
        timings.add(connection, [timing])
    # A job that was sent since for the same addresses has nothing left to bring.
    ends = in_flight == jid or dispatched == proof.dispatched
    connection.execute(
        "UPDATE ledger SET applied = ?1, revision = ?2, applied_at = ?3, error = ?4,"
        " behind_since = CASE WHEN ?1 IS NULL THEN behind_since END, attempts = 0, next_at = 0,"
        " failing_since = NULL, silent = 0,"
        " running_at = CASE WHEN ?5 THEN NULL ELSE running_at END,"
        " jid = CASE WHEN ?5 THEN NULL ELSE jid END WHERE minion = ?6 AND cluster = ?7",
        (proof.digest, proof.revision, now, proof.error, int(ends), minion, proof.cluster),
    )


def _fail(
    connection: Connection,
    jid: str,
    minion: str,
    error: str,
    *,
    counted: bool,
    next_at: float,
    now: float,
    silent: bool,
) -> None:
    connection.execute(
        "UPDATE ledger SET jid = NULL, attempts = attempts + ?1, next_at = ?2, error = ?3,"
        " running_at = NULL,"
        " failing_since = CASE WHEN ?1 THEN coalesce(failing_since, ?4)"
        " ELSE failing_since END,"
        " failed_at = CASE WHEN ?1 THEN ?4 ELSE failed_at END,"
        " silent = CASE WHEN ?1 THEN ?5 ELSE silent END"
        " WHERE jid = ?6 AND minion = ?7",
        (int(counted), next_at, error, now, int(silent), jid, minion),
    )
