"""What was said that holds until it is done or taken back: a pause, a wish, a trouble, a pulse."""

from __future__ import annotations

from dataclasses import dataclass

from salt_ext.store.database import Database

_PAUSE = "pause"
_UNHEEDED = "unheeded"
_MINIONS = "minions"
_REFRESH = "refresh:"


@dataclass(frozen=True, slots=True)
class ControlFlag:
    """Who said it, and when, in seconds since the epoch."""

    by: str
    at: float


class ControlTable:
    """Written by the runner, and the engine takes back what it has done; a trouble is its own."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def paused(self) -> ControlFlag | None:
        """Return who has paused all publishing, None when nobody has."""
        return self._said(_PAUSE)

    def pause(self, word: ControlFlag) -> bool:
        """Pause all publishing; False when it was before, and then the first word stands."""
        return self._say(_PAUSE, word)

    def resume(self) -> bool:
        """Take the pause back; False when there was none."""
        return self._take_back(_PAUSE)

    def unheeded(self) -> ControlFlag | None:
        """Return since when nobody has acted on the engine's events, None when somebody does."""
        return self._said(_UNHEEDED)

    def say_unheeded(self, word: ControlFlag) -> bool:
        """Say that nobody acts on the engine's events; False when it was said before."""
        return self._say(_UNHEEDED, word)

    def take_unheeded_back(self) -> bool:
        """Say that somebody does; False when nothing else was said."""
        return self._take_back(_UNHEEDED)

    def seen_to_minions(self) -> float | None:
        """Return when the engine last saw to the minions, None when it never did."""
        word = self._said(_MINIONS)
        return word.at if word else None

    def sees_to_minions(self, at: float) -> None:
        """Say that the engine has seen to the minions: proofs, silence, reminders."""
        with self._database.writing() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO word VALUES (?, 'engine', ?)", (_MINIONS, at)
            )

    def refresh(self, cluster: str, word: ControlFlag) -> None:
        """Ask the engine for a LIST of a cluster."""
        self._say(f"{_REFRESH}{cluster}", word)

    def take_refreshes(self) -> list[str]:
        """Return the clusters that a LIST is asked for, once."""
        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT what FROM word WHERE what LIKE ?", (f"{_REFRESH}%",)
            ).fetchall()
        return [what.removeprefix(_REFRESH) for (what,) in rows if self._take_back(what)]

    def _said(self, what: str) -> ControlFlag | None:
        with self._database.reading() as connection:
            row = connection.execute("SELECT by, at FROM word WHERE what = ?", (what,)).fetchone()
        return ControlFlag(*row) if row else None

    def _say(self, what: str, word: ControlFlag) -> bool:
        with self._database.writing() as connection:
            said = connection.execute(
                "INSERT OR IGNORE INTO word VALUES (?, ?, ?)", (what, word.by, word.at)
            )
            return said.rowcount > 0

    def _take_back(self, what: str) -> bool:
        with self._database.writing() as connection:
            return connection.execute("DELETE FROM word WHERE what = ?", (what,)).rowcount > 0
