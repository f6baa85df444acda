"""How the engine is doing, as it reports itself: each cluster's watch, the reactor, its minions."""

from __future__ import annotations

import msgspec

from salt_ext.store.database import Database

_REACTOR_SILENT = "reactor_silent"
_MINION_LOOP = "minion_loop"


class Health(msgspec.Struct, kw_only=True):
    """The report on one cluster; times are seconds since the epoch, 0 for never."""

    state: str
    """``listing``, ``watching``, ``waiting`` (after an error) or ``stopped``."""
    reported_at: float
    """When this was written; a live engine writes every few seconds."""
    by: str = "engine"
    """Who lists the cluster: ``engine``, or ``ext_pillar`` where no engine runs."""
    lost_since: float = 0.0
    """Since when the watch has been failing; 0 while it works."""
    listed_at: float = 0.0
    heard_at: float = 0.0
    """When the API server last sent anything."""
    error: str = ""
    failures: int = 0
    """Consecutive failures."""
    nodes: int = 0
    refused: dict[str, int] = {}
    """Addresses that were refused, by reason."""
    refused_nodes: dict[str, list[str]] = {}
    """The first nodes that report them, by reason."""
    refused_keys: dict[str, str] = {}
    """The key of the configuration that refuses them, by reason; of some reasons there is none."""
    retry_at: float = 0.0
    """When the next try follows an error."""
    lists: int = 0
    events: int = 0
    """Lines of the watch, heartbeats and bookmarks too."""
    ignored: int = 0
    """Lines of the watch that could not be read."""
    errors: int = 0
    """Requests that failed."""


class HealthTable:
    """Written by the engine, and by an ext_pillar that lists by itself."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._encode = msgspec.json.Encoder().encode
        self._decode = msgspec.json.Decoder(Health).decode

    def report(self, cluster: str, health: Health) -> None:
        """Replace the report on a cluster."""
        with self._database.writing() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO health VALUES (?, ?)", (cluster, self._encode(health))
            )

    def of(self, cluster: str) -> Health | None:
        """Return the newest report on a cluster, None when there never was one."""
        with self._database.reading() as connection:
            row = connection.execute(
                "SELECT report FROM health WHERE cluster = ?", (cluster,)
            ).fetchone()
            return self._decode(row[0]) if row else None

    def reactor_silent_since(self) -> float | None:
        """Return since when the engine's events have had no effect; None while they have."""
        return self._sign(_REACTOR_SILENT)

    def raise_reactor_alarm(self, since: float) -> bool:
        """Record that events have no effect; False when that was recorded, and its time stays."""
        with self._database.writing() as connection:
            inserted = connection.execute(
                "INSERT OR IGNORE INTO engine_sign VALUES (?, ?)", (_REACTOR_SILENT, since)
            )
            return inserted.rowcount > 0

    def clear_reactor_alarm(self) -> bool:
        """Record that events have an effect; False when there was no alarm."""
        with self._database.writing() as connection:
            deleted = connection.execute(
                "DELETE FROM engine_sign WHERE name = ?", (_REACTOR_SILENT,)
            )
            return deleted.rowcount > 0

    def minion_loop_seen_at(self) -> float | None:
        """Return when the engine's minion loop last ended a round, None when it never did."""
        return self._sign(_MINION_LOOP)

    def minion_loop_seen(self, at: float) -> None:
        """Record that the minion loop has ended a round: proofs, silence, reminders."""
        with self._database.writing() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO engine_sign VALUES (?, ?)", (_MINION_LOOP, at)
            )

    def _sign(self, name: str) -> float | None:
        with self._database.reading() as connection:
            row = connection.execute(
                "SELECT at FROM engine_sign WHERE name = ?", (name,)
            ).fetchone()
        return float(row[0]) if row else None
