"""Opens the store's file, and lends transactions: several statements take effect together."""

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
"""Seconds to wait for another process's transaction; this product's last milliseconds."""

_inherited: list[sqlite3.Connection] = []
"""Connections that a fork has copied: SQLite forbids to close them on this side."""


class Database:
    """The file, with one connection for each thread (and each process after a fork)."""

    def __init__(self, state_dir: str) -> None:
        self.path = Path(state_dir) / FILE
        self._local = threading.local()
        self._opening_of = os.getpid(), threading.Lock()

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """
        Lend a connection for statements that see one state of the file.

        Rows must be decoded before it is given back: one that cannot be is damage.
        """
        with self._transaction("BEGIN") as connection:
            try:
                yield connection
            except (msgspec.MsgspecError, ValueError) as exc:
                raise _Unusable(f"a row cannot be read: {exc}") from exc

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
                    self._replace_damaged(connection, str(exc))
                raise
        except (sqlite3.Error, OSError, UnicodeDecodeError, _Unusable) as exc:
            raise StoreError(f"{self.path}: {exc}") from exc

    def _connection(self) -> sqlite3.Connection:
        # A connection must not be used on both sides of a fork, and Salt forks its workers; nor
        # on a file that was moved away or removed.
        opened = getattr(self._local, "opened", None)
        if opened is None or opened != self._identity():
            if opened is not None and opened[0] != os.getpid():
                _inherited.append(self._local.connection)
            with self._opening():
                self._local.connection = self._open()
                self._local.opened = self._identity()
        connection: sqlite3.Connection = self._local.connection
        return connection

    def _identity(self) -> tuple[int, int, int] | None:
        """Return this process and the file that stands there now."""
        try:
            status = self.path.stat()
        except FileNotFoundError:
            return None
        return os.getpid(), status.st_dev, status.st_ino

    @contextlib.contextmanager
    def _opening(self) -> Iterator[None]:
        """Keep the file from being opened while another process may be setting it aside."""
        # Hundreds of threads of this process may begin at once: they wait in turn, without end.
        with (
            self._thread_lock(),
            exclusive(self.path.with_name(STORE), timeout=_BUSY) as locked,
        ):
            if not locked:
                raise OSError(f"another process has held {STORE} for {_BUSY:.0f} s")
            yield

    def _thread_lock(self) -> threading.Lock:
        # A fork may have copied it while a thread held it that the child does not have.
        if self._opening_of[0] != os.getpid():
            self._opening_of = os.getpid(), threading.Lock()
        return self._opening_of[1]

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
        # SQLite gives its journal files the mode of the file itself. Only a file that does not
        # exist may be opened beside it: to close one drops the locks of all connections of this
        # process, and the next process to close its own removes the journal under them.
        with contextlib.suppress(FileExistsError):
            flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC
            os.close(os.open(self.path, flags, 0o600))
        return sqlite3.connect(self.path, timeout=_BUSY, isolation_level=None)

    def _replace_damaged(self, connection: sqlite3.Connection, why: str) -> None:
        """Set the file of this connection aside, unless another process has."""
        opened, self._local.opened = self._local.opened, None
        connection.close()
        with self._opening():
            if self._identity() == opened:
                self._set_aside(why)

    def _set_aside(self, why: str) -> None:
        kept = self.path.with_name(f"{FILE}.aside-{time.strftime('%Y%m%dT%H%M%S')}-{os.getpid()}")
        log.error(
            "store: cannot use %s (%s). It was set aside as %s, and a new store begins empty. "
            "Lost: known nodes, references and proofs of minions, held changes, history. "
            "Kept in decisions.json: a pause, pinned identities, releases and rejections. "
            "The engine lists the nodes, compiles pillars and asks minions by itself. "
            "Nothing is published until the nodes agree with what minions were served; "
            "run `salt-run k8s_nodes.status` [store-set-aside]",
            self.path,
            why if why.isprintable() else quote(why),
            kept.name,
        )
        for suffix in ("", "-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                Path(f"{self.path}{suffix}").replace(f"{kept}{suffix}")


class _Unusable(Exception):
    """The file is not a store of this version, or a row of it cannot be read."""


def _is_damage(exc: BaseException) -> bool:
    """Whether only a new file helps; a lock, a full disk or a missing right will pass."""
    if isinstance(exc, sqlite3.OperationalError):
        return any(sign in str(exc) for sign in ("no such", "malformed", "Could not decode"))
    # SQLite quotes the damaged text in its message, which Python then cannot read.
    return isinstance(exc, (_Unusable, UnicodeDecodeError)) or type(exc) is sqlite3.DatabaseError


def _prepare(connection: sqlite3.Connection) -> None:
    """Make the tables in an empty file; :class:`_Unusable` where it holds anything else."""
    connection.execute("PRAGMA journal_mode = WAL")
    # In WAL mode a crash of the machine may lose the last transactions but never the file, and
    # the next LIST finds again what they had.
    connection.execute("PRAGMA synchronous = NORMAL")
    if _header(connection) == (schema.VERSION, schema.APPLICATION_ID):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        version, owner = _header(connection)
        empty = not connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone()
        if (version, owner) == (0, 0) and empty:
            _create_tables(connection)
        elif owner != schema.APPLICATION_ID:
            raise _Unusable("the file is not a k8s_nodes store")
        elif version != schema.VERSION:
            raise _Unusable(f"its version is {version}, this release uses {schema.VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise


def _create_tables(connection: sqlite3.Connection) -> None:
    for statement in schema.TABLES.split(";\n"):
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {schema.VERSION}")


def _header(connection: sqlite3.Connection) -> tuple[int, int]:
    """Return the version and the owner in the file's header."""
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    return version, connection.execute("PRAGMA application_id").fetchone()[0]
