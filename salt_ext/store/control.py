"""Control flags, from the operator to the engine: refresh requests; a pause is in ``decisions``."""

from __future__ import annotations

from dataclasses import dataclass

from salt_ext.store.database import Database

_REFRESH = "refresh:"


@dataclass(frozen=True, slots=True)
class ControlFlag:
    """Who set it, when (in seconds since the epoch), and what the person said about it."""

    by: str
    at: float
    reason: str = ""


class ControlTable:
    """Set by the runner; the engine clears the requests that it has taken."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def request_refresh(self, cluster: str, flag: ControlFlag) -> None:
        """Ask the engine for a LIST of a cluster."""
        self._set(f"{_REFRESH}{cluster}", flag)

    def take_refreshes(self) -> list[str]:
        """Return the clusters with a refresh request, and clear the requests."""
        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT name FROM control WHERE name LIKE ?", (f"{_REFRESH}%",)
            ).fetchall()
        return [name.removeprefix(_REFRESH) for (name,) in rows if self._clear(name)]

    def _set(self, name: str, flag: ControlFlag) -> bool:
        with self._database.writing() as connection:
            inserted = connection.execute(
                "INSERT OR IGNORE INTO control VALUES (?, ?, ?)", (name, flag.by, flag.at)
            )
            return inserted.rowcount > 0

    def _clear(self, name: str) -> bool:
        with self._database.writing() as connection:
            return connection.execute("DELETE FROM control WHERE name = ?", (name,)).rowcount > 0
