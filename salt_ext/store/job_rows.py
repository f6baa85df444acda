"""Reads a published job; of its own, since both the jobs and the ledger need it."""

from __future__ import annotations

from sqlite3 import Connection

from salt_ext.core.rollout.judgement import Job


def get(connection: Connection, jid: str) -> Job | None:
    """Return what was published under a job id, None when that is not known."""
    row = connection.execute(
        "SELECT jid, at, class, function, step FROM job WHERE jid = ?", (jid,)
    ).fetchone()
    return Job(jid=row[0], at=row[1], class_=row[2], function=row[3], step=row[4]) if row else None
