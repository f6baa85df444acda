"""The ledger: what each minion was sent, what it proved to have applied, and what failed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from sqlite3 import Connection

from salt_ext.core.rollout.drift import LedgerEntry, MinionCluster, OutOfSync
from salt_ext.store import address_sets, minion_facts, subscriptions, timings
from salt_ext.store.database import Database

_COLUMNS = (
    "minion, cluster, applied, applied_at, jid, dispatched, dispatched_at, attempts, next_at,"
    " error, behind_since, failing_since, failed_at, silent, revision, dispatched_revision,"
    " (SELECT at FROM job WHERE job.jid = ledger.jid)"
)

_CHANGED_MEANWHILE = "the cluster changed during the run; re-applying"


class AppliedTable:
    """An entry for each minion and cluster; written by the engine from what jobs returned."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self) -> dict[MinionCluster, LedgerEntry]:
        """Return every entry."""
        return {(entry.minion, entry.cluster): entry for entry in self._entries("1")}

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

    def record_proof(self, jid: str, minion: str, now: float, *, min_interval: float = 0.0) -> None:
        """
        Record a job's success: what was desired when it was published is applied.

        Where the cluster changed meanwhile, the minion's pillar may have had addresses of a moment
        in between. Then nothing is proven, even if the cluster is again as it was. Either way the
        minion has run, which counts for its pacing with ``min_interval`` seconds.
        """
        with self._database.writing() as connection:
            minion_facts.count_run(connection, jid, minion, min_interval)
            subscriptions.delete_acknowledged(connection, jid, minion)
            doubtful = [
                (now, _CHANGED_MEANWHILE, jid, minion, cluster)
                for cluster in _changed_meanwhile(connection, jid, minion)
                if _may_have_differed(connection, jid, minion, cluster)
            ]
            connection.executemany(
                "UPDATE ledger SET applied = NULL, revision = NULL, applied_at = ?, jid = NULL,"
                " attempts = 0, next_at = 0, error = ?, failing_since = NULL, silent = 0"
                " WHERE jid = ? AND minion = ? AND cluster = ?",
                doubtful,
            )
            timings.add(connection, jid, minion, now)
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
            address_sets.delete_unused(connection)

    def unserved_references(self, jid: str, minion: str) -> list[str]:
        """
        Return the references that the minion's pillar did not get as a job was to apply them.

        Only of clusters that are as they were when it was published: :meth:`record_proof` sees to
        the others. A run compiles the pillar of one environment, and its return does not say which:
        it is enough that one of them is right.
        """
        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT pillarenv, reference, answer, subscription.digest, addresses FROM ledger"
                " JOIN cluster ON name = ledger.cluster AND cluster.revision = dispatched_revision"
                " JOIN address_set ON address_set.digest = dispatched"
                " JOIN subscription ON subscription.minion = ledger.minion"
                " AND subscription.cluster = ledger.cluster AND gone_at IS NULL"
                " WHERE jid = ? AND ledger.minion = ?",
                (jid, minion),
            ).fetchall()
        unserved: dict[str, list[str]] = {}
        for pillarenv, text, answer, recorded, blob in rows:
            dispatched = address_sets.reference_digests(blob).get(text)
            if dispatched is not None:
                in_environment = unserved.setdefault(pillarenv, [])
                if (answer, recorded) != ("served", dispatched):
                    in_environment.append(text)
        return min(map(sorted, unserved.values()), key=len, default=[])

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
            connection.execute(
                "UPDATE ledger SET jid = NULL, attempts = attempts + ?1, next_at = ?2, error = ?3,"
                " failing_since = CASE WHEN ?1 THEN coalesce(failing_since, ?4)"
                " ELSE failing_since END,"
                " failed_at = CASE WHEN ?1 THEN ?4 ELSE failed_at END,"
                " silent = CASE WHEN ?1 THEN ?5 ELSE silent END"
                " WHERE jid = ?6 AND minion = ?7",
                (int(counted), next_at, error, now, int(silent), jid, minion),
            )

    def record_module_sync(self, jid: str, minion: str, version: str) -> None:
        """Record that a job has synced a minion's modules; the run itself is still due."""
        with self._database.writing() as connection:
            minion_facts.put_module_version(connection, minion, version)
            _end_job_unapplied(connection, jid, minion)

    def record_pillar_refresh(self, jid: str, minion: str) -> None:
        """Record that a job has made a minion refresh its pillar; the run itself is still due."""
        with self._database.writing() as connection:
            _end_job_unapplied(connection, jid, minion)

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
        " dispatched_revision = excluded.dispatched_revision,"
        " behind_since = coalesce(behind_since, excluded.behind_since)",
        (
            (row.minion, row.cluster, jid, row.desired, at, revisions.get(row.cluster), at)
            for row in rows
        ),
    )


def _end_job_unapplied(connection: Connection, jid: str, minion: str) -> None:
    connection.execute(
        "UPDATE ledger SET jid = NULL, dispatched = NULL, next_at = 0 WHERE jid = ? AND minion = ?",
        (jid, minion),
    )


def _changed_meanwhile(connection: Connection, jid: str, minion: str) -> list[str]:
    """Return the clusters of a job that have another revision than when it was published."""
    rows = connection.execute(
        "SELECT cluster FROM ledger JOIN cluster ON name = cluster"
        " WHERE jid = ? AND minion = ? AND cluster.revision <> dispatched_revision",
        (jid, minion),
    )
    return [cluster for (cluster,) in rows.fetchall()]


def _may_have_differed(connection: Connection, jid: str, minion: str, cluster: str) -> bool:
    """
    Whether a pillar since a job was published may have had other addresses than the job's.

    A compile that got the same as the one before it writes nothing.
    """
    dispatched_at, blob = connection.execute(
        "SELECT dispatched_at, addresses FROM ledger LEFT JOIN address_set ON digest = dispatched"
        " WHERE jid = ? AND minion = ? AND cluster = ?",
        (jid, minion, cluster),
    ).fetchone()
    rows = connection.execute(
        "SELECT reference, digest, changed_at FROM subscription"
        " WHERE minion = ? AND cluster = ? AND answer = 'served' AND gone_at IS NULL",
        (minion, cluster),
    ).fetchall()
    dispatched = address_sets.reference_digests(blob) if blob is not None else {}
    recorded = {(text, recorded_digest) for text, recorded_digest, _ in rows}
    return (
        any(changed_at >= dispatched_at for _, _, changed_at in rows)
        or set(dispatched.items()) != recorded
    )
