"""Opens the store's file, and makes what several statements do happen at once or not at all."""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from salt_ext.core.errors import StoreError
from salt_ext.store import schema

log = logging.getLogger(__name__)

FILE = "store.sqlite3"

_BUSY = 2.0
"""Seconds to wait for another process's transaction; ours last milliseconds."""


class Database:
    """The file, with one connection for each thread (and each process after a fork)."""

    def __init__(self, state_dir: str) -> None:
        self.path = Path(state_dir) / FILE
        self._local = threading.local()

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection for statements that see one state of the file."""
        with self._transaction("BEGIN") as connection:
            yield connection

    @contextlib.contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection for statements that take effect together, or not when they fail."""
        with self._transaction("BEGIN IMMEDIATE") as connection:
            yield connection

    @contextlib.contextmanager
    def _transaction(self, begin: str) -> Iterator[sqlite3.Connection]:
        try:
            connection = self._connection()
            connection.execute(begin)
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
        except (sqlite3.Error, OSError) as exc:
            raise StoreError(f"{self.path}: {exc}") from exc

    def _connection(self) -> sqlite3.Connection:
        # A connection must not be used on both sides of a fork, and Salt forks its workers; nor
        # on a file that somebody moved away or removed.
        opened = getattr(self._local, "opened", None)
        if opened is None or opened != self._file():
            self._local.connection = self._open()
            self._local.opened = self._file()
        connection: sqlite3.Connection = self._local.connection
        return connection

    def _file(self) -> tuple[int, int, int] | None:
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return None
        return os.getpid(), found.st_dev, found.st_ino

    def _open(self) -> sqlite3.Connection:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # SQLite gives its journal files the mode of the file itself.
        os.close(os.open(self.path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
        connection = sqlite3.connect(self.path, timeout=_BUSY, isolation_level=None)
        try:
            _prepare(connection)
        except sqlite3.OperationalError:
            connection.close()
            raise
        except (sqlite3.DatabaseError, _Foreign) as exc:
            connection.close()
            self._set_aside(str(exc))
            connection = sqlite3.connect(self.path, timeout=_BUSY, isolation_level=None)
            self.path.chmod(0o600)
            _prepare(connection)
        return connection

    def _set_aside(self, why: str) -> None:
        kept = self.path.with_name(f"{FILE}.aside-{time.strftime('%Y%m%dT%H%M%S')}-{os.getpid()}")
        log.error(
            "%s cannot be used (%s): set aside as %s; the nodes are listed again, and each "
            "minion is applied once more after its pillar is compiled",
            self.path,
            why,
            kept.name,
        )
        for suffix in ("", "-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                Path(f"{self.path}{suffix}").replace(f"{kept}{suffix}")


class _Foreign(Exception):
    """The file is a database, but not one of this version."""


def _prepare(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    # In WAL mode a crash of the machine may lose the last transactions but never the file, and
    # what they held is found again by the next LIST.
    connection.execute("PRAGMA synchronous = NORMAL")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version == schema.VERSION:
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        empty = not connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone()
        if version == 0 and empty:
            for statement in schema.TABLES.split(";\n"):
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {schema.VERSION}")
        elif version != schema.VERSION:
            raise _Foreign(f"its version is {version}, ours is {schema.VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
