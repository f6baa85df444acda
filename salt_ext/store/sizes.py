"""How large each cluster was within a day: growth is measured against it, over restarts too."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from salt_ext.core.cluster.sizes import Sample
from salt_ext.store.database import Database

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Sample]).decode


class SizeTable:
    """Written and read by the engine, and by an ext_pillar that lists by itself."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def save(self, cluster: str, samples: Sequence[Sample], now: float) -> None:
        """Replace the samples of a cluster; ``now`` is seconds since the epoch."""
        with self._database.writing() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO size_history VALUES (?, ?, ?)",
                (cluster, now, _encode(samples)),
            )

    def load(self, cluster: str, now: float) -> list[Sample]:
        """Return the samples of a cluster, with their ages now."""
        with self._database.reading() as connection:
            row = connection.execute(
                "SELECT at, samples FROM size_history WHERE cluster = ?", (cluster,)
            ).fetchone()
            if row is None:
                return []
            passed = max(0.0, now - row[0])
            return [sample._replace(age=sample.age + passed) for sample in _decode(row[1])]
