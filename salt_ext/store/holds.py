"""Changes that a guard holds; what persons decide on them is in ``decisions``."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from salt_ext.core.cluster.hold import Doubts, Effect, Held
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
    rejected: bool = False

    @property
    def keys(self) -> list[str]:
        """The names of what is held, sorted."""
        return sorted(self.subjects)


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(list[HeldChange]).decode


class _Doubts(msgspec.Struct, frozen=True, array_like=True):
    older: bool
    missing: bool
    returned: list[str]


_decode_doubts = msgspec.json.Decoder(_Doubts).decode


class HoldTable:
    """Written by the engine, and by an ext_pillar that lists by itself."""

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
                rejected=change.rejected,
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

    def doubts(self, cluster: str) -> Doubts:
        """Return what an older state of a cluster has left behind."""
        with self._database.reading() as connection:
            row = connection.execute(
                "SELECT doubts FROM doubt WHERE cluster = ?", (cluster,)
            ).fetchone()
            if row is None:
                return Doubts()
            known = _decode_doubts(row[0])
            return Doubts(
                older=known.older, missing=known.missing, returned=frozenset(known.returned)
            )

    def save_doubts(self, cluster: str, doubts: Doubts) -> None:
        """Replace what an older state of a cluster has left behind."""
        row = _Doubts(doubts.older, doubts.missing, sorted(doubts.returned))
        with self._database.writing() as connection:
            if doubts == Doubts():
                connection.execute("DELETE FROM doubt WHERE cluster = ?", (cluster,))
            else:
                connection.execute(
                    "INSERT OR REPLACE INTO doubt VALUES (?, ?)", (cluster, _encode(row))
                )
