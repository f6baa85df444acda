"""
What changed when, and by whose hand: bounded, kept through restarts.

Entries are kept in shares, each with a bound of its own, so that no share can push out another:

- what persons did, a share for each action (``confirmed``, ``paused``, ``refreshed`` and so on);
- the same actions where a machine called them: the reactor, or a minion through ``peer_run``;
- the changes of each cluster, and apart from them its departures;
- what is about one minion, which controls its own pillar: a share for each minion.

A share that is filled in a hurry is folded: entries with the same key are counted in the newest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from sqlite3 import Connection
from typing import Any

import msgspec

from salt_ext.store.database import Database

MAX_OF_ACTION = 2000
"""Entries of each action of persons, and of each action that machines called."""
MAX_OF_CLUSTER = 2000
"""Changes of one cluster, and as many departures."""
MAX_OF_MINION = 50
MAX_OF_MINIONS = 30_000
"""Entries about single minions, all together."""

FOLD_WITHIN = 3600.0
"""Seconds after an entry within which the next one of its key may be folded into it."""
_SEPARATE = 10
"""Entries of one key within that time that are kept apart; the next ones are counted."""

MINIONS_BURST = 10_000.0
"""Entries about single minions that may come at once: as many as a change of a top file makes."""
MINIONS_PER_HOUR = 1000.0
"""Then so many of them in an hour; the others are only counted."""

DECISIONS = frozenset(["confirmed", "rejected", "paused", "resumed", "store lost", "recovered"])
"""Actions that are never folded: each of them changed something."""

_OMITTED = "changes of minions that came too fast are only counted"

# Of the other index SQLite would read and sort all of them. The condition is that of this one.
_OLDEST_OF_MINIONS = (
    "SELECT id, share FROM history INDEXED BY history_of_minions"
    " WHERE share >= 'minion:' AND share < 'minion;' ORDER BY id LIMIT 1"
)

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryEntry:
    """
    One entry; times are seconds since the epoch, ``cluster`` is empty where it is about none.

    An action has ``by`` in its detail, and ``reason`` where one was given.
    """

    at: float
    cluster: str
    what: str
    detail: Mapping[str, Any]
    nodes: Collection[str] = ()
    """The nodes that changed: frequent changes of the same ones are folded."""
    automatic: bool = False
    """Whether a machine called what a person usually calls."""
    times: int = 1
    """How many entries this one stands for; its detail is that of the last."""
    first_at: float | None = None
    """When the first of them was recorded; None for a single one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Share:
    name: str
    limit: int
    key: object
    separate: int = _SEPARATE
    """Entries of one key that are kept apart; with 0, all of them."""


class HistoryTable:
    """Written by the engine, the runner and the ext_pillar."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(self, entry: HistoryEntry) -> None:
        """Add an entry to its share, or fold it into the newest of its key."""
        share = _share(entry)
        with self._database.writing() as connection:
            if _fold(connection, entry, share):
                return
            if _of_minion(share) and not _allowed(connection, entry.at):
                entry, share = _omitted(entry)
                if _fold(connection, entry, share):
                    return
            _insert(connection, entry, share)
            _make_room(connection, share)

    def record_action(
        self,
        what: str,
        by: str,
        at: float,
        *,
        cluster: str = "",
        reason: str = "",
        automatic: bool = False,
        **detail: Any,
    ) -> None:
        """Add what a person did, and why; ``automatic`` where a machine called it."""
        said = {"by": by, **({"reason": reason} if reason else {})}
        self.record(
            HistoryEntry(
                at=at, cluster=cluster, what=what, detail={**said, **detail}, automatic=automatic
            )
        )

    def followed(self, cluster: str, tokens: Collection[str], revision: int) -> None:
        """Record which revision of a cluster followed from confirmations, by their tokens."""
        with self._database.writing() as connection:
            for number, entry in _decisions(connection, cluster):
                if entry.detail.get("token") in tokens and "revision" not in entry.detail:
                    connection.execute(
                        "UPDATE history SET detail = ? WHERE id = ?",
                        (_encode({**entry.detail, "revision": revision}), number),
                    )

    def confirmations(self, cluster: str, tokens: Collection[str]) -> dict[str, HistoryEntry]:
        """Return the newest confirmation of each of these tokens."""
        if not tokens:
            return {}
        with self._database.reading() as connection:
            found = {
                str(entry.detail.get("token")): entry
                for _, entry in reversed(_decisions(connection, cluster))
            }
        return {token: entry for token, entry in found.items() if token in tokens}

    def clusters(self) -> frozenset[str]:
        """Return the clusters that have entries, configured or not."""
        with self._database.reading() as connection:
            rows = connection.execute("SELECT DISTINCT cluster FROM history").fetchall()
        return frozenset(cluster for (cluster,) in rows)

    def newest(self, cluster: str, limit: int, kinds: Collection[str] = ()) -> list[HistoryEntry]:
        """Return the newest entries of a cluster, newest first, of some kinds or of all."""
        where = f" AND what IN ({', '.join('?' * len(kinds))})" if kinds else ""
        with self._database.reading() as connection:
            found = _rows(
                connection,
                f"cluster = ?{where} ORDER BY id DESC LIMIT ?",
                *(cluster, *kinds, limit),
            )
        return [entry for _, entry in found]


def _share(entry: HistoryEntry) -> _Share:
    detail = entry.detail
    if "by" in detail:
        actor = "automatic" if entry.automatic else "person"
        return _Share(
            name=f"{actor}:{entry.what}",
            limit=MAX_OF_ACTION,
            key=[entry.cluster, {name: detail[name] for name in detail if name != "jobs"}],
            separate=0 if entry.what in DECISIONS else _SEPARATE,
        )
    minion = detail.get("minion") or _only(detail.get("minions"))
    if minion:
        # The pillar of a minion changes as often as the minion wants it to.
        return _Share(name=f"minion:{minion}", limit=MAX_OF_MINION, key=entry.what)
    about = sorted(entry.nodes) or detail.get("minions") or dict(detail)
    return _Share(name=f"{entry.what}:{entry.cluster}", limit=MAX_OF_CLUSTER, key=about)


def _only(minions: object) -> str:
    return str(minions[0]) if isinstance(minions, list) and len(minions) == 1 else ""


def _of_minion(share: _Share) -> bool:
    return share.name.startswith("minion:")


def _omitted(entry: HistoryEntry) -> tuple[HistoryEntry, _Share]:
    """Return what stands for entries of minions that came too fast."""
    detail = {"omitted": _OMITTED}
    share = _Share(name="omitted", limit=MAX_OF_MINION, key="", separate=1)
    return replace(entry, cluster="", what="pillar", detail=detail), share


def _fold_key(share: _Share) -> bytes:
    return hashlib.blake2b(_encode([share.name, share.key]), digest_size=12).digest()


def _fold(connection: Connection, entry: HistoryEntry, share: _Share) -> bool:
    """Count an entry in the newest of its key, if these come fast; False if it must be added."""
    if not share.separate:
        return False
    key = _fold_key(share)
    recent = connection.execute(
        "SELECT id, at, times, first_at FROM history WHERE fold = ? AND at > ?"
        " ORDER BY id DESC LIMIT ?",
        (key, entry.at - FOLD_WITHIN, share.separate),
    ).fetchall()
    # Once they are counted, they are counted until they stop.
    if not recent or (len(recent) < share.separate and recent[0][2] == 1):
        return False
    number, at, times, first_at = recent[0]
    # With a new number, since the newest is what is shown first and dropped last.
    connection.execute("DELETE FROM history WHERE id = ?", (number,))
    _insert_row(connection, entry, share, times + 1, at if first_at is None else first_at)
    return True


def _insert(connection: Connection, entry: HistoryEntry, share: _Share) -> None:
    _insert_row(connection, entry, share, 1, None)
    connection.execute(
        "INSERT INTO history_share VALUES (?, 1) ON CONFLICT DO UPDATE SET entries = entries + 1",
        (share.name,),
    )


def _insert_row(
    connection: Connection,
    entry: HistoryEntry,
    share: _Share,
    times: int,
    first_at: float | None,
) -> None:
    connection.execute(
        "INSERT INTO history (at, cluster, what, detail, share, fold, times, first_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *(entry.at, entry.cluster, entry.what, _encode(entry.detail)),
            *(share.name, _fold_key(share), times, first_at),
        ),
    )


def _make_room(connection: Connection, share: _Share) -> None:
    """Drop the oldest entries beyond the bound of a share, and of all minions together."""
    (entries,) = connection.execute(
        "SELECT entries FROM history_share WHERE share = ?", (share.name,)
    ).fetchone()
    if entries > share.limit:
        oldest = "SELECT id, share FROM history WHERE share = ? ORDER BY id LIMIT 1"
        _drop(connection, *connection.execute(oldest, (share.name,)).fetchone())
    elif _of_minion(share):
        _count_minions(connection, 1)
    if _of_minion(share) and _minions(connection)[0] > MAX_OF_MINIONS:
        _drop(connection, *connection.execute(_OLDEST_OF_MINIONS).fetchone())
        _count_minions(connection, -1)


def _drop(connection: Connection, number: int, share: str) -> None:
    connection.execute("DELETE FROM history WHERE id = ?", (number,))
    connection.execute("UPDATE history_share SET entries = entries - 1 WHERE share = ?", (share,))
    connection.execute("DELETE FROM history_share WHERE share = ? AND entries <= 0", (share,))


def _minions(connection: Connection) -> tuple[int, float, float]:
    """Return how many entries about minions there are, and how many more may come at which time."""
    row = connection.execute("SELECT entries, allowance, at FROM history_minions").fetchone()
    return row or (0, MINIONS_BURST, 0.0)


def _count_minions(connection: Connection, more: int) -> None:
    connection.execute("UPDATE history_minions SET entries = entries + ?", (more,))


def _allowed(connection: Connection, now: float) -> bool:
    """Whether one more entry about a minion may be added now; takes it from the allowance."""
    entries, allowance, at = _minions(connection)
    # A clock that was set back must not lengthen the wait.
    refilled = max(0.0, now - at) * MINIONS_PER_HOUR / 3600
    allowance = min(MINIONS_BURST, allowance + refilled)
    allowed = allowance >= 1.0
    connection.execute(
        "INSERT OR REPLACE INTO history_minions (id, entries, allowance, at) VALUES (0, ?, ?, ?)",
        (entries, allowance - 1.0 if allowed else allowance, now),
    )
    return allowed


def _decisions(connection: Connection, cluster: str) -> list[tuple[int, HistoryEntry]]:
    """Return the confirmations of a cluster, newest first."""
    return _rows(connection, "cluster = ? AND what = 'confirmed' ORDER BY id DESC", cluster)


def _rows(connection: Connection, where: str, *values: object) -> list[tuple[int, HistoryEntry]]:
    rows = connection.execute(
        "SELECT id, at, cluster, what, detail, share, times, first_at FROM history"  # noqa: S608
        f" WHERE {where}",
        values,
    )
    return [
        (
            row[0],
            HistoryEntry(
                at=row[1],
                cluster=row[2],
                what=row[3],
                detail=_decode(row[4]),
                automatic=row[5].startswith("automatic:"),
                times=row[6],
                first_at=row[7],
            ),
        )
        for row in rows
    ]
