"""What mode ``observe`` did not publish: one entry for each change, bounded for each cluster."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from sqlite3 import Connection
from typing import Any

import msgspec

from salt_ext.core.references.resolve import digest
from salt_ext.core.rollout.drift import MinionCluster, Resolved
from salt_ext.core.rollout.observed import Baseline, ObservedChange, What, surplus
from salt_ext.store import address_sets
from salt_ext.store.database import Database

MAX_PER_CLUSTER = 5000
MAX_PER_SUBJECT = 500
"""Entries of one minion, or of one set of addresses, within a cluster."""
KEPT = 60 * 86_400.0
"""Seconds for which an entry is kept."""
SAME_WITHIN = 600.0
"""Seconds from the first time of a change within which the same one is not another entry."""

MANY = 20
TOO_MANY = 60
"""
Entries of the same minions in an hour, beyond which later changes go into the newest of them.

Before the second number that is only done where the order of changes stays clear: with none in
between that some of these minions have alone.
"""
_HOUR = 3600.0

_SLACK = 50
"""Entries beyond the bound of a cluster before it is enforced: not with each entry."""

_COLUMNS = "at, until, times, detail, (SELECT names FROM observed_minions WHERE digest = minions)"

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(ObservedChange).decode
_decode_names = msgspec.json.Decoder(tuple[str, ...]).decode


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedEntry:
    """A change as it is kept; times are seconds since the epoch."""

    at: float
    until: float
    """When it was seen last."""
    times: int
    """How often it was seen on the minion where it was seen most."""
    change: ObservedChange


class ObservedTable:
    """Written by the engine."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def baselines(self) -> dict[MinionCluster, Baseline]:
        """Return what the next change of each minion and cluster is compared with."""
        with self._database.reading() as connection:
            rows = connection.execute("SELECT minion, cluster, digest, seen FROM observed_baseline")
            return {(row[0], row[1]): Baseline(digest=row[2], seen=row[3]) for row in rows}

    def record(
        self,
        changes: Collection[ObservedChange],
        now: float,
        *,
        baselines: Mapping[MinionCluster, Baseline] | None = None,
        sets: Mapping[str, Resolved] | None = None,
        ended: Iterable[MinionCluster] = (),
    ) -> None:
        """
        Write changes down, and what the next ones are compared with, in one transaction.

        ``sets`` are the addresses of new digests; ``ended`` are observed no more.
        """
        with self._database.writing() as connection:
            address_sets.add(connection, sets or {})
            connection.executemany(
                "INSERT OR REPLACE INTO observed_baseline VALUES (?, ?, ?, ?)",
                ((*pair, one.digest, one.seen) for pair, one in (baselines or {}).items()),
            )
            connection.executemany(
                "DELETE FROM observed_baseline WHERE minion = ? AND cluster = ?", ended
            )
            for change in changes:
                _record(connection, change, now)
            if changes:
                _make_room(connection, {change.cluster for change in changes}, now)

    def entries(self, cluster: str | None, since: float) -> list[ObservedEntry]:
        """Return the entries of one cluster or of all since a time, newest first."""
        with self._database.reading() as connection:
            rows = connection.execute(
                f"SELECT {_COLUMNS} FROM observed_change"  # noqa: S608
                " WHERE until >= ?1 AND (?2 IS NULL OR cluster = ?2)"
                " ORDER BY until DESC, id DESC",
                (since, cluster),
            )
            groups: dict[bytes, tuple[str, ...]] = {}
            return [_entry(row, groups) for row in rows]

    def clusters(self) -> frozenset[str]:
        """Return the clusters that have entries, configured or not."""
        with self._database.reading() as connection:
            rows = connection.execute("SELECT DISTINCT cluster FROM observed_change").fetchall()
        return frozenset(cluster for (cluster,) in rows)


def delete(connection: Connection, minion: str) -> None:
    """Forget what a minion without a key would have; entries that name it stay."""
    connection.execute("DELETE FROM observed_baseline WHERE minion = ?", (minion,))


def _entry(row: Sequence[Any], groups: dict[bytes, tuple[str, ...]]) -> ObservedEntry:
    blob = row[4]
    if blob not in groups:
        groups[blob] = _unpack(blob)
    change = replace(_decode(row[3]), minions=groups[blob])
    return ObservedEntry(at=row[0], until=row[1], times=row[2], change=change)


def _record(connection: Connection, change: ObservedChange, now: float) -> None:
    """Add a change, or count it where the same one was recorded a moment ago."""
    same = connection.execute(
        "SELECT id, times, names FROM observed_change JOIN observed_minions ON digest = minions"
        " WHERE cluster = ? AND key = ? AND at > ? ORDER BY id DESC LIMIT 1",
        # A hold goes on for as long as it lasts: its key has the time of its begin.
        (change.cluster, change.key, 0.0 if change.what is What.HOLD else now - SAME_WITHIN),
    ).fetchone()
    if same is None:
        minions = _put_minions(connection, change.minions)
        if change.what is What.APPLY and _fold(connection, change, minions, now):
            return
        connection.execute(
            "INSERT INTO observed_change (at, until, times, what, cluster, key, subject, minions,"
            " detail) VALUES (?1, ?1, 1, ?2, ?3, ?4, ?5, ?6, ?7)",
            (
                *(now, change.what.value, change.cluster, change.key, change.subject, minions),
                _encode(replace(change, minions=())),
            ),
        )
        return
    number, times, blob = same
    before = _unpack(blob)
    again = change.what is not What.HOLD and not frozenset(before).isdisjoint(change.minions)
    minions = _put_minions(connection, tuple(sorted({*before, *change.minions})))
    connection.execute(
        "UPDATE observed_change SET until = ?, times = ?, minions = ? WHERE id = ?",
        (now, times + again, minions, number),
    )
    if change.what is What.HOLD:
        detail = _encode(replace(change, minions=()))
        connection.execute("UPDATE observed_change SET detail = ? WHERE id = ?", (detail, number))


def _fold(connection: Connection, change: ObservedChange, minions: str, now: float) -> bool:
    """Add a change to the newest entry of the same minions, where there are many of late."""
    recent = "what = 'would_apply' AND cluster = ? AND minions = ? AND until > ?"
    numbers = connection.execute(
        f"SELECT count(*), max(id) FROM observed_change WHERE {recent}",  # noqa: S608
        (change.cluster, minions, now - _HOUR),
    ).fetchone()
    count, newest = numbers
    if count < MANY or (count < TOO_MANY and not _is_newest(connection, newest, change)):
        return False
    (detail,) = connection.execute(
        "SELECT detail FROM observed_change WHERE id = ?", (newest,)
    ).fetchone()
    both = _decode(detail).followed_by(replace(change, minions=()))
    connection.execute(
        "UPDATE observed_change SET until = ?, key = ?, detail = ? WHERE id = ?",
        (now, both.key, _encode(both), newest),
    )
    return True


def _is_newest(connection: Connection, number: int, change: ObservedChange) -> bool:
    """Whether no minion of a change has another entry after this one."""
    later = connection.execute(
        "SELECT DISTINCT names FROM observed_change JOIN observed_minions ON digest = minions"
        " WHERE id <> ?1 AND until > (SELECT until FROM observed_change WHERE id = ?1)",
        (number,),
    )
    mine = frozenset(change.minions)
    return all(mine.isdisjoint(_unpack(blob)) for (blob,) in later)


def _put_minions(connection: Connection, minions: tuple[str, ...]) -> str:
    """Keep the names of a group of minions once, and return the digest of them."""
    name = digest({"": minions})
    blob = zlib.compress(_encode(minions), 1)
    connection.execute("INSERT OR IGNORE INTO observed_minions VALUES (?, ?)", (name, blob))
    return name


def _make_room(connection: Connection, clusters: Iterable[str], now: float) -> None:
    connection.execute("DELETE FROM observed_change WHERE until < ?", (now - KEPT,))
    for cluster in clusters:
        rows = connection.execute(
            "SELECT id, subject FROM observed_change WHERE cluster = ? ORDER BY id", (cluster,)
        ).fetchall()
        dropped = _beyond_share(rows)
        if len(rows) > MAX_PER_CLUSTER + _SLACK:
            dropped += surplus([row for row in rows if row[0] not in dropped], MAX_PER_CLUSTER)
        connection.executemany(
            "DELETE FROM observed_change WHERE id = ?", ((number,) for number in dropped)
        )
    connection.execute(
        "DELETE FROM observed_minions WHERE digest NOT IN (SELECT minions FROM observed_change)"
    )


def _beyond_share(rows: Sequence[tuple[int, str]]) -> list[int]:
    """Return the oldest entries of subjects that have too many."""
    seen: Counter[str] = Counter()
    dropped = []
    for number, subject in reversed(rows):
        seen[subject] += 1
        if seen[subject] > MAX_PER_SUBJECT:
            dropped.append(number)
    return dropped


def _unpack(blob: bytes) -> tuple[str, ...]:
    try:
        return _decode_names(zlib.decompress(blob))
    except zlib.error as exc:
        raise ValueError(str(exc)) from exc
