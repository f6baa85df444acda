"""How each cluster's watch is doing, as the engine last told it."""

from __future__ import annotations

import msgspec

from salt_ext.store.database import Database


class Health(msgspec.Struct, kw_only=True):
    """The engine's own word on one cluster; times are seconds since the epoch, 0 for never."""

    state: str
    """``listing``, ``watching``, ``waiting`` (after an error) or ``stopped``."""
    reported_at: float
    """When this was written; an engine that lives writes every few seconds."""
    by: str = "engine"
    """Who follows the cluster: ``engine``, or ``ext_pillar`` where none runs."""
    lost_since: float = 0.0
    """Since when it has been failing; 0 while it is not."""
    listed_at: float = 0.0
    heard_at: float = 0.0
    error: str = ""
    failures: int = 0
    nodes: int = 0
    refused: dict[str, int] = {}
    """Addresses that were dropped, by reason."""
    retry_at: float = 0.0
    """When the next try follows an error."""
    lists: int = 0
    events: int = 0
    """Lines of the watch, heartbeats and bookmarks too."""
    ignored: int = 0
    """Watch lines that nothing could be made of."""
    errors: int = 0
    """Requests that failed."""


class HealthTable:
    """Written by the engine alone."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._encode = msgspec.json.Encoder().encode
        self._decode = msgspec.json.Decoder(Health).decode

    def tell(self, cluster: str, health: Health) -> None:
        """Replace what is known of a cluster's watch."""
        with self._database.writing() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO health VALUES (?, ?)", (cluster, self._encode(health))
            )

    def of(self, cluster: str) -> Health | None:
        """Return what the engine last told of a cluster, None when it never did."""
        with self._database.reading() as connection:
            row = connection.execute(
                "SELECT told FROM health WHERE cluster = ?", (cluster,)
            ).fetchone()
            return self._decode(row[0]) if row else None
