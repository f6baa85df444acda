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

import msgspec

from salt_ext.core.display import quote
from salt_ext.core.errors import StoreError
from salt_ext.store import schema
from salt_ext.store.locks import STORE, exclusive

log = logging.getLogger(__name__)

FILE = "store.sqlite3"

_BUSY = 2.0
"""Seconds to wait for another process's transaction; ours last milliseconds."""

_inherited: list[sqlite3.Connection] = []
"""What a fork has copied: SQLite forbids to close it on this side."""


class Database:
    """The file, with one connection for each thread (and each process after a fork)."""

    def __init__(self, state_dir: str) -> None:
        self.path = Path(state_dir) / FILE
        self._local = threading.local()
        self._turns = os.getpid(), threading.Lock()

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """
        Lend a connection for statements that see one state of the file.

        What they find must be decoded before it is given back: what cannot be is damage.
        """
        with self._transaction("BEGIN") as connection:
            try:
                yield connection
            except (msgspec.MsgspecError, ValueError) as exc:
                raise _Unusable(f"what is stored cannot be read: {exc}") from exc

    @contextlib.contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection for statements that take effect together, or not when they fail."""
        with self._transaction("BEGIN IMMEDIATE") as connection:
            yield connection

    @contextlib.contextmanager
    def _transaction(self, begin: str) -> Iterator[sqlite3.Connection]:
        try:
            connection = self._connection()
            try:
                connection.execute(begin)
                yield connection
                connection.execute("COMMIT")
            except BaseException as exc:
                # A damaged file may refuse even that.
                with contextlib.suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
                if _is_damage(exc):
                    self._give_up(connection, str(exc))
                raise
        except (sqlite3.Error, OSError, UnicodeDecodeError, _Unusable) as exc:
            raise StoreError(f"{self.path}: {exc}") from exc

    def _connection(self) -> sqlite3.Connection:
        # A connection must not be used on both sides of a fork, and Salt forks its workers; nor
        # on a file that somebody moved away or removed.
        opened = getattr(self._local, "opened", None)
        if opened is None or opened != self._file():
            if opened is not None and opened[0] != os.getpid():
                _inherited.append(self._local.connection)
            with self._opening():
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

    @contextlib.contextmanager
    def _opening(self) -> Iterator[None]:
        """Let nobody open the file while another process may be setting it aside."""
        # Hundreds of our own threads may begin at once: they wait in turn, however long it takes.
        with self._turn(), exclusive(self.path.with_name(STORE), within=_BUSY) as mine:
            if not mine:
                raise OSError("another process is opening it, and does not end")
            yield

    def _turn(self) -> threading.Lock:
        # A fork may have copied it while a thread held it that the child does not have.
        if self._turns[0] != os.getpid():
            self._turns = os.getpid(), threading.Lock()
        return self._turns[1]

    def _open(self) -> sqlite3.Connection:
        connection = self._connect()
        try:
            _prepare(connection)
        except (sqlite3.Error, UnicodeDecodeError, _Unusable) as exc:
            connection.close()
            if not _is_damage(exc):
                raise
            self._set_aside(str(exc))
            connection = self._connect()
            _prepare(connection)
        return connection

    def _connect(self) -> sqlite3.Connection:
        # SQLite gives its journal files the mode of the file itself. Only a file that is not there
        # may be opened beside it: to close one takes the locks of all our threads' connections
        # away, and whoever closes his next in another process removes the journal under them.
        with contextlib.suppress(FileExistsError):
            flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC
            os.close(os.open(self.path, flags, 0o600))
        return sqlite3.connect(self.path, timeout=_BUSY, isolation_level=None)

    def _give_up(self, connection: sqlite3.Connection, why: str) -> None:
        """Set the file aside that this connection is open on, unless somebody has."""
        opened, self._local.opened = self._local.opened, None
        connection.close()
        with self._opening():
            if self._file() == opened:
                self._set_aside(why)

    def _set_aside(self, why: str) -> None:
        kept = self.path.with_name(f"{FILE}.aside-{time.strftime('%Y%m%dT%H%M%S')}-{os.getpid()}")
        log.error(
            "%s cannot be used (%s): set aside as %s; the nodes are listed again, and each "
            "minion is applied once more after its pillar is compiled, which "
            "salt-run k8s_nodes.discover does for all of them",
            self.path,
            why if why.isprintable() else quote(why),
            kept.name,
        )
        for suffix in ("", "-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                Path(f"{self.path}{suffix}").replace(f"{kept}{suffix}")


class _Unusable(Exception):
    """The file is no store of this version, or what is in it cannot be read."""


def _is_damage(exc: BaseException) -> bool:
    """Whether only a new file helps; a lock, a full disk or a missing right will pass."""
    if isinstance(exc, sqlite3.OperationalError):
        return any(sign in str(exc) for sign in ("no such", "malformed", "Could not decode"))
    # SQLite quotes the damaged text in its message, which Python then cannot read.
    return isinstance(exc, (_Unusable, UnicodeDecodeError)) or type(exc) is sqlite3.DatabaseError


def _prepare(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    # In WAL mode a crash of the machine may lose the last transactions but never the file, and
    # what they held is found again by the next LIST.
    connection.execute("PRAGMA synchronous = NORMAL")
    if _marks(connection) == (schema.VERSION, schema.APPLICATION_ID):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        version, owner = _marks(connection)
        empty = not connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone()
        if (version, owner) == (0, 0) and empty:
            _make(connection, schema.TABLES)
        elif owner != schema.APPLICATION_ID:
            raise _Unusable("it is not ours")
        elif version in schema.MIGRATIONS:
            while version in schema.MIGRATIONS:
                _make(connection, schema.MIGRATIONS[version])
                version += 1
            _make(connection, schema.TABLES)
        elif version != schema.VERSION:
            raise _Unusable(f"its version is {version}, ours is {schema.VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise


def _make(connection: sqlite3.Connection, statements: str) -> None:
    for statement in statements.split(";\n"):
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {schema.VERSION}")


def _marks(connection: sqlite3.Connection) -> tuple[int, int]:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    return version, connection.execute("PRAGMA application_id").fetchone()[0]
