"""How far a change has rolled over each class of minions."""

from __future__ import annotations

from dataclasses import replace

import msgspec

from salt_ext.core.rollout.wave import RolloutState
from salt_ext.store.database import Database

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(RolloutState).decode


class RolloutTable:
    """Written under the lock for publishing, by a resume, and when a stopped class is retried."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self) -> dict[str, RolloutState]:
        """Return the rollout of each class that has one under way or stopped."""
        with self._database.reading() as connection:
            rows = connection.execute("SELECT class, state FROM rollout").fetchall()
            return {class_: _decode(state) for class_, state in rows}

    def save(self, class_: str, state: RolloutState | None) -> None:
        """Replace the rollout of a class; None ends it."""
        with self._database.writing() as connection:
            if state is None:
                connection.execute("DELETE FROM rollout WHERE class = ?", (class_,))
            else:
                connection.execute(
                    "INSERT OR REPLACE INTO rollout VALUES (?, ?)", (class_, _encode(state))
                )

    def reset(self) -> None:
        """Begin anew with every class, as an operator asked."""
        with self._database.writing() as connection:
            connection.execute("DELETE FROM rollout")

    def retry_stopped(self, now: float) -> None:
        """Try one minion of each stopped class now."""
        for class_, state in self.all().items():
            if state.stopped and state.retry_at > now:
                self.save(class_, replace(state, retry_at=now))
