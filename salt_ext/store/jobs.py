"""The jobs that were published, each written down before it was sent."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from salt_ext.core.rollout.drift import OutOfSync
from salt_ext.core.rollout.judgement import Job
from salt_ext.store import address_sets, applied, departures, job_rows
from salt_ext.store.database import Database

_KEPT = 24 * 3600.0
"""Seconds for which a job is known; a return after that counts no more."""


class JobTable:
    """Written by the runner, which publishes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, jid: str) -> Job | None:
        """Return what was published under a job id, None when that is not known."""
        with self._database.reading() as connection:
            return job_rows.get(connection, jid)

    def minions_published_to(self, since: float, now: float) -> int:
        """
        Return to how many minions jobs were published in a time, each minion of each job counted.

        A job later than ``now`` was published before the clock was set back.
        """
        with self._database.reading() as connection:
            row = connection.execute(
                "SELECT coalesce(sum(minions), 0) FROM job WHERE at > ? AND at <= ?",
                (since, now),
            ).fetchone()
        return int(row[0])

    def record_dispatch(
        self,
        job: Job,
        rows: Collection[OutOfSync],
        revisions: Mapping[str, int] | None = None,
        *,
        selected_at: float | None = None,
        closing: Collection[str] = (),
    ) -> None:
        """
        Write down, before it is published, what a job will apply where.

        ``selected_at`` is how old that is, where it is older than the job. ``closing`` are minions
        whose departures it is for.
        """
        selected_at = job.at if selected_at is None else selected_at
        minions = len({row.minion for row in rows} | {*closing})
        with self._database.writing() as connection:
            connection.execute(
                "DELETE FROM job WHERE at < ? AND jid NOT IN"
                " (SELECT jid FROM ledger WHERE jid IS NOT NULL)",
                (job.at - _KEPT,),
            )
            connection.execute("DELETE FROM late_job WHERE dispatched_at < ?", (job.at - _KEPT,))
            connection.execute(
                "INSERT OR REPLACE INTO job VALUES (?, ?, ?, ?, ?, ?)",
                (job.jid, job.at, job.class_, job.function, job.step, minions),
            )
            address_sets.add(connection, {row.desired: row.resolved for row in rows})
            applied.mark_dispatched(connection, job.jid, selected_at, rows, revisions or {})
            departures.mark_dispatched(connection, job.jid, selected_at, closing)

    def record_sent(self, jid: str, now: float) -> None:
        """Write down when a job was published: it is waited for from then on."""
        with self._database.writing() as connection:
            connection.execute("UPDATE job SET at = ? WHERE jid = ?", (now, jid))
