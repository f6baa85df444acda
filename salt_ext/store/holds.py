"""Changes that a guard holds, and the releases by operators that the engine has yet to take."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from salt_ext.core.cluster.hold import Effect, Held
from salt_ext.store.database import Database


class HeldChange(msgspec.Struct, frozen=True, kw_only=True):
    """One held change; ``since`` is seconds since the epoch."""

    kind: str
    why: str
    subjects: dict[str, str]
    """Names of what is held, with a fingerprint of what was seen."""
    since: float
    token: str
    effect: Effect = Effect()

    @property
    def keys(self) -> list[str]:
        """The names of what is held, sorted."""
        return sorted(self.subjects)


class Release(msgspec.Struct, frozen=True, kw_only=True):
    """The changes that an operator released, who it was, and when."""

    id: int
    changes: list[HeldChange]
    by: str
    at: float


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(list[HeldChange]).decode


class HoldTable:
    """Held changes are written by the engine, releases by the runner."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of(self, cluster: str) -> list[HeldChange]:
        """Return the changes that are held for a cluster."""
        with self._database.reading() as connection:
            row = connection.execute(
                "SELECT changes FROM hold WHERE cluster = ?", (cluster,)
            ).fetchone()
            return _decode(row[0]) if row else []

    def replace(self, cluster: str, held: Sequence[Held], now: float) -> None:
        """Replace the changes that are held for a cluster; a kind held before keeps its time."""
        since = {change.kind: change.since for change in self.of(cluster)}
        changes = [
            HeldChange(
                kind=change.kind.value,
                why=change.why,
                subjects=dict(sorted(change.subjects.items())),
                since=since.get(change.kind.value, now),
                token=change.token,
                effect=change.effect,
            )
            for change in held
        ]
        with self._database.writing() as connection:
            if changes:
                connection.execute(
                    "INSERT OR REPLACE INTO hold VALUES (?, ?)", (cluster, _encode(changes))
                )
            else:
                connection.execute("DELETE FROM hold WHERE cluster = ?", (cluster,))

    def release(self, cluster: str, changes: list[HeldChange], by: str, now: float) -> None:
        """Record that an operator releases these changes."""
        with self._database.writing() as connection:
            connection.execute(
                "INSERT INTO release (cluster, changes, released_by, released_at)"
                " VALUES (?, ?, ?, ?)",
                (cluster, _encode(changes), by, now),
            )

    def releases(self, cluster: str) -> list[Release]:
        """Return the releases of a cluster that the engine has not taken yet, oldest first."""
        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT id, changes, released_by, released_at FROM release WHERE cluster = ?"
                " ORDER BY id",
                (cluster,),
            )
            return [
                Release(id=row[0], changes=_decode(row[1]), by=row[2], at=row[3]) for row in rows
            ]

    def delete_release(self, release: Release) -> None:
        """Drop a release that the engine has taken."""
        with self._database.writing() as connection:
            connection.execute("DELETE FROM release WHERE id = ?", (release.id,))
