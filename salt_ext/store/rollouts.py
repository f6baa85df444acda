"""How far a change has rolled over each class of minions."""

from __future__ import annotations

from dataclasses import replace

import msgspec

from salt_ext.core.rollout.wave import RolloutState
from salt_ext.store.database import Database

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(RolloutState).decode


class RolloutTable:
    """Written by whoever publishes, one at a time."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self) -> dict[str, RolloutState]:
        """Return the wave of each class that is in one."""
        with self._database.reading() as connection:
            rows = connection.execute("SELECT class, state FROM wave").fetchall()
            return {name: _decode(state) for name, state in rows}

    def keep(self, name: str, wave: RolloutState | None) -> None:
        """Replace the wave of a class."""
        with self._database.writing() as connection:
            if wave is None:
                connection.execute("DELETE FROM wave WHERE class = ?", (name,))
            else:
                connection.execute(
                    "INSERT OR REPLACE INTO wave VALUES (?, ?)", (name, _encode(wave))
                )

    def forget(self) -> None:
        """Begin anew with every class, by a person's word."""
        with self._database.writing() as connection:
            connection.execute("DELETE FROM wave")

    def probe(self, now: float) -> None:
        """Try one minion of each stopped class now."""
        for name, wave in self.all().items():
            if wave.stopped and wave.retry_at > now:
                self.keep(name, replace(wave, retry_at=now))
