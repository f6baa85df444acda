"""What is known of a minion itself: its module's version, its pacing, what its kernel cannot do."""

from __future__ import annotations

from collections.abc import Collection
from sqlite3 import Connection

import msgspec

from salt_ext.store.database import Database


class MinionFactTable:
    """Written by the engine, from the returns of jobs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def module_versions(self) -> dict[str, str]:
        """Return the version of the ``k8s_firewall`` module that each minion is known to have."""
        with self._database.reading() as connection:
            return dict(connection.execute("SELECT minion, version FROM module_version").fetchall())

    def set_module_version(self, minion: str, version: str) -> None:
        """Record the version of the module that a minion reported."""
        with self._database.writing() as connection:
            put_module_version(connection, minion, version)

    def clear_module_version(self, minion: str) -> None:
        """Record that a minion lacks the module, whatever it was sent before."""
        with self._database.writing() as connection:
            connection.execute("DELETE FROM module_version WHERE minion = ?", (minion,))

    def cannot_reset(self) -> frozenset[str]:
        """Return the minions that cannot reset the open connections of removed nodes."""
        with self._database.reading() as connection:
            rows = connection.execute("SELECT minion FROM cannot_reset").fetchall()
        return frozenset(minion for (minion,) in rows)

    def set_can_reset(self, minion: str, *, able: bool) -> None:
        """Record whether a minion can reset the open connections of removed nodes."""
        if able == (minion not in self.cannot_reset()):
            return
        with self._database.writing() as connection:
            if able:
                connection.execute("DELETE FROM cannot_reset WHERE minion = ?", (minion,))
            else:
                connection.execute("INSERT OR IGNORE INTO cannot_reset VALUES (?)", (minion,))

    def problems(self) -> dict[str, list[str]]:
        """Return the parts that fail on each minion, as it reported them last."""
        with self._database.reading() as connection:
            rows = connection.execute("SELECT minion, problems FROM minion_problem ORDER BY 1")
            return {minion: msgspec.json.decode(blob, type=list[str]) for minion, blob in rows}

    def full_burst_at(self) -> dict[str, float]:
        """
        Return when each minion may run a whole burst again, in seconds since the epoch.

        Each run moves that on by ``apply:min_interval``, so it counts the runs of late.
        """
        with self._database.reading() as connection:
            return dict(connection.execute("SELECT minion, full_burst_at FROM pacing").fetchall())


def put_module_version(connection: Connection, minion: str, version: str) -> None:
    """Write the version of a minion's module."""
    connection.execute("INSERT OR REPLACE INTO module_version VALUES (?, ?)", (minion, version))


def count_run(
    connection: Connection, minion: str, dispatched_at: float, min_interval: float
) -> None:
    """Move the time of a minion's next whole burst on by one run."""
    connection.execute(
        "INSERT INTO pacing VALUES (?1, ?2 + ?3)"
        " ON CONFLICT DO UPDATE SET"
        " full_burst_at = max(full_burst_at + ?3, excluded.full_burst_at)",
        (minion, dispatched_at, min_interval),
    )


def put_problems(
    connection: Connection, minion: str, problems: Collection[str], now: float
) -> None:
    """Replace the parts that fail on a minion, as it reported them."""
    if problems:
        connection.execute(
            "INSERT OR REPLACE INTO minion_problem VALUES (?, ?, ?)",
            (minion, msgspec.json.encode(list(problems)), now),
        )
    else:
        connection.execute("DELETE FROM minion_problem WHERE minion = ?", (minion,))


def delete(connection: Connection, minion: str) -> None:
    """Drop all facts of a minion."""
    connection.execute("DELETE FROM module_version WHERE minion = ?", (minion,))
    connection.execute("DELETE FROM cannot_reset WHERE minion = ?", (minion,))
    connection.execute("DELETE FROM pacing WHERE minion = ?", (minion,))
    connection.execute("DELETE FROM minion_problem WHERE minion = ?", (minion,))
