"""The newest view of each cluster, a row for each node."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType

import msgspec

from salt_ext.core.cluster.address import Address
from salt_ext.core.cluster.member import Member
from salt_ext.core.cluster.node import AddressType
from salt_ext.core.cluster.snapshot import Snapshot
from salt_ext.core.errors import Overtaken
from salt_ext.store import address_history, departures, store_id
from salt_ext.store.database import Database


class _Row(msgspec.Struct, array_like=True):
    uid: str
    addresses: dict[str, list[str]]
    labels: dict[str, str]
    ready: bool


_KINDS = {kind.value: kind for kind in AddressType}
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Row).decode


class SnapshotTable:
    """Written by the engine, and by an ext_pillar that lists by itself; read by all."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def store_id(self) -> str:
        """Return the identity of this store: each counts revisions of its own."""
        return store_id.read(self._database)

    def revision(self, cluster: str) -> int:
        """Return the newest revision of a cluster, 0 when it was never listed completely."""
        return self.stamp(cluster)[0]

    def stamp(self, cluster: str) -> tuple[int, float]:
        """Return the newest revision and when it was observed: a new store counts from 1 again."""
        with self._database.reading() as connection:
            row = connection.execute(
                "SELECT revision, observed_at FROM cluster WHERE name = ?", (cluster,)
            ).fetchone()
        return row or (0, 0.0)

    def load(self, cluster: str) -> Snapshot | None:
        """Return the newest snapshot of a cluster, None when it was never listed completely."""
        with self._database.reading() as connection:
            row = connection.execute(
                "SELECT revision, identity, resource_version, observed_at FROM cluster"
                " WHERE name = ?",
                (cluster,),
            ).fetchone()
            if row is None:
                return None
            nodes = connection.execute(
                "SELECT name, member FROM node WHERE cluster = ? ORDER BY name", (cluster,)
            )
            return Snapshot(
                cluster=cluster,
                revision=row[0],
                identity=row[1],
                resource_version=row[2],
                observed_at=row[3],
                members={name: _member(name, blob) for name, blob in nodes},
            )

    def save_version(self, cluster: str, resource_version: str) -> None:
        """Replace the resource version of a cluster, without a new revision."""
        with self._database.writing() as connection:
            updated = connection.execute(
                "UPDATE cluster SET resource_version = ? WHERE name = ?",
                (resource_version, cluster),
            )
            if not updated.rowcount:
                raise Overtaken(f"cluster {cluster}: its snapshot is not in the store any more")

    def save(
        self,
        snapshot: Snapshot,
        put: Iterable[Member],
        drop: Iterable[str],
        departed: Iterable[tuple[Collection[str], Mapping[str, str]]] = (),
        let_in_by: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """
        Make ``snapshot`` the newest, writing only the members that differ from the last one.

        ``departed`` are groups of minions, each with the addresses that this view takes from them
        and why: written in the same transaction, so that no crash forgets them. ``let_in_by`` has,
        by node, the token of the confirmation that released it.

        :class:`Overtaken` when another process has written a revision since.
        """
        name = snapshot.cluster
        put, drop = list(put), list(drop)
        with self._database.writing() as connection:
            row = connection.execute(
                "SELECT revision FROM cluster WHERE name = ?", (name,)
            ).fetchone()
            # A thread that was abandoned as hung must not overwrite its successor's snapshot.
            if (row[0] if row else 0) != snapshot.revision - 1:
                raise Overtaken(
                    f"cluster {name}: revision {snapshot.revision} does not follow the last"
                )
            connection.execute(
                "INSERT OR REPLACE INTO cluster VALUES (?, ?, ?, ?, ?)",
                (
                    name,
                    snapshot.revision,
                    snapshot.identity,
                    snapshot.resource_version,
                    snapshot.observed_at,
                ),
            )
            connection.executemany(
                "DELETE FROM node WHERE cluster = ? AND name = ?", ((name, gone) for gone in drop)
            )
            connection.executemany(
                "INSERT OR REPLACE INTO node VALUES (?, ?, ?)",
                ((name, member.name, _blob(member)) for member in put),
            )
            address_history.save(connection, snapshot, put, drop, let_in_by)
            departures.depart_all(connection, name, departed, snapshot.observed_at)


def _blob(member: Member) -> bytes:
    return _encode(
        _Row(
            uid=member.uid,
            addresses={
                kind.value: [str(i) for i in items] for kind, items in member.addresses.items()
            },
            labels=dict(member.labels),
            ready=member.ready,
        )
    )


def _member(name: str, blob: bytes) -> Member:
    row = _decode(blob)
    addresses = {}
    for text, items in row.addresses.items():
        kind = _KINDS[text] if text in _KINDS else AddressType(text)
        read = ipaddress.ip_network if kind is AddressType.POD_CIDR else _address
        addresses[kind] = tuple(map(read, items))
    return Member(name=name, uid=row.uid, addresses=addresses, labels=row.labels, ready=row.ready)


def _address(text: str) -> Address:
    """Read an address of the store; the parser of ``ipaddress`` takes three times as long."""
    try:
        if ":" in text:
            return ipaddress.IPv6Address(socket.inet_pton(socket.AF_INET6, text))
        return ipaddress.IPv4Address(socket.inet_pton(socket.AF_INET, text))
    except OSError as exc:
        raise ValueError(f"{text!r} is not an address") from exc
