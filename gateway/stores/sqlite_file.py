"""One SQLite file that several processes share: connections that follow it, transactions, schema.

Knows nothing of what is kept in it. Blocking.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from gateway.stores.tables import StoreError, StoreUnavailableError

BUSY_TIMEOUT_S = 5.0


class SqliteFile:
    """The file at `path`, made at the first `writing`. A kill loses nothing committed.

    `schema` is the script that makes what is missing in a file of any earlier `version`, and may
    be run again. Both contexts may wait for other processes, up to `BUSY_TIMEOUT_S`, and raise
    `StoreError`. Safe to use from several threads.
    """

    def __init__(self, path: Path, schema: str, version: int) -> None:
        self.path = path
        self.identity: tuple[int, int] | None = None
        self._schema, self._version = schema, version
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None

    def close(self) -> None:
        """Give the file back. It may be used again."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
            self._connection = self.identity = None

    def __del__(self) -> None:
        self.close()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection | None]:
        """One moment's state for all that is read within, or None where there is no file."""
        with self._using() as db:
            if db is not None:
                db.execute("BEGIN")
            try:
                yield db
            finally:
                if db is not None and db.in_transaction:  # SQLite ends some by itself
                    db.execute("ROLLBACK")

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction: all of it is kept or nothing."""
        with self._using(create=True) as db:
            assert db is not None
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise
            db.execute("COMMIT")

    @contextmanager
    def _using(self, *, create: bool = False) -> Iterator[sqlite3.Connection | None]:
        """The connection to the file that is there now, or None where there is no file."""
        with self._lock:
            try:
                self._follow(create=create)
                yield self._connection
            except sqlite3.Error as error:
                self.close()
                kind = StoreUnavailableError if _is_busy(error) else StoreError
                raise kind(f"table store {self.path}: {error}") from None
            except OSError as error:
                raise StoreError(f"table store {self.path}: {error.strerror}") from None

    def _follow(self, *, create: bool) -> None:
        """(Re)connect where the file appeared or was replaced, let go where it is gone."""
        there = _identity(self.path)
        if self._connection is not None and there != self.identity:
            self.close()
        if self._connection is None and (there or create):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = self._connect()
            self.identity = _identity(self.path)

    def _connect(self) -> sqlite3.Connection:
        # Even a reader writes beside the file. Where it may not, nobody else here can either.
        frozen = self.path.exists() and not os.access(self.path.parent, os.W_OK)
        name = self.path.absolute().as_uri() + ("?immutable=1" if frozen else "")
        db = sqlite3.connect(
            name, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
        )
        try:
            self._prepare(db)
        except BaseException:
            db.close()
            raise
        return db

    def _prepare(self, db: sqlite3.Connection) -> None:
        (found,) = db.execute("PRAGMA user_version").fetchone()
        if found > self._version:
            raise sqlite3.DatabaseError(f"schema {found}: this version reads {self._version}")
        if found == 0:
            _when_free(lambda: db.execute("PRAGMA journal_mode = wal"))
        if found < self._version:
            self._migrate(db, found)
        db.execute("PRAGMA synchronous = full")

    def _migrate(self, db: sqlite3.Connection, found: int) -> None:
        try:
            db.executescript(self._schema)
        except sqlite3.OperationalError as error:
            if db.in_transaction:
                db.execute("ROLLBACK")
            if found == 0 or _primary_code(error) != sqlite3.SQLITE_READONLY:
                raise  # else who may only read an older file reads it as it is


def _primary_code(error: sqlite3.Error) -> int:
    code: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    return code & 0xFF  # without details


def _is_busy(error: sqlite3.Error) -> bool:
    return _primary_code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_dev, status.st_ino


def _when_free(change: Callable[[], object]) -> None:
    """SQLite does not wait by itself where two processes change the journal of a new file."""
    until = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            change()
        except sqlite3.OperationalError:
            if time.monotonic() > until:
                raise
            time.sleep(0.01)
        else:
            return
