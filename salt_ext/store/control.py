"""Control flags, from the operator to the engine: a pause, and refresh requests."""

from __future__ import annotations

from dataclasses import dataclass

from salt_ext.store.database import Database

_PAUSE = "pause"
_REFRESH = "refresh:"


@dataclass(frozen=True, slots=True)
class ControlFlag:
    """Who set it, and when, in seconds since the epoch."""

    by: str
    at: float


class ControlTable:
    """Set by the runner; the engine clears the requests that it has taken."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def paused(self) -> ControlFlag | None:
        """Return who has paused all publishing, None while it is not paused."""
        with self._database.reading() as connection:
            row = connection.execute(
                "SELECT by, at FROM control WHERE name = ?", (_PAUSE,)
            ).fetchone()
        return ControlFlag(*row) if row else None

    def pause(self, flag: ControlFlag) -> bool:
        """Pause all publishing; False when it was paused before, and that flag stays."""
        return self._set(_PAUSE, flag)

    def resume(self) -> bool:
        """End the pause; False when there was none."""
        return self._clear(_PAUSE)

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
