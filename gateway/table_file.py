"""Latency tables in one SQLite file, which several processes may share. Blocking."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from gateway.tables import (
    CurrentTable,
    StoreError,
    StoreUnavailableError,
    TableDocument,
    document_of,
    no_such_version,
)
from supernet.latency import LatencyTable

BUSY_TIMEOUT_S = 5.0

_SCHEMA_VERSION = 1
_SCHEMA = f"""
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS device_classes (
    artifact_hash TEXT NOT NULL, device_class TEXT NOT NULL,
    last_version INTEGER NOT NULL, current_version INTEGER,
    PRIMARY KEY (artifact_hash, device_class));
CREATE TABLE IF NOT EXISTS tables (
    artifact_hash TEXT NOT NULL, device_class TEXT NOT NULL, version INTEGER NOT NULL,
    document TEXT NOT NULL, PRIMARY KEY (artifact_hash, device_class, version));
PRAGMA user_version = {_SCHEMA_VERSION};
COMMIT;
"""
_POINTERS = """
SELECT device_class, current_version FROM device_classes WHERE artifact_hash = ?
"""
_DOCUMENT = """
SELECT CAST(document AS BLOB) FROM tables
WHERE artifact_hash = ? AND device_class = ? AND version = ?
"""
_VERSIONS = """
SELECT version FROM tables WHERE artifact_hash = ? AND device_class = ? ORDER BY version
"""


class TableFile:
    """Tables in one SQLite file, made at the first `put`. A kill loses nothing committed.

    What each method does is said at `TableStore`. All of them may wait for other processes, up
    to `BUSY_TIMEOUT_S`. Safe to use from several threads.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None

    def put(self, table: LatencyTable) -> int:
        key, document = (table.artifact_hash, table.device_class), document_of(table)
        with self._writing() as db:
            db.execute(
                "INSERT INTO device_classes VALUES (?, ?, 1, 1) ON CONFLICT DO UPDATE SET "
                "last_version = last_version + 1, current_version = last_version + 1",
                key,
            )
            (version,) = db.execute(
                "SELECT last_version FROM device_classes "
                "WHERE artifact_hash = ? AND device_class = ?",
                key,
            ).fetchone()
            db.execute("INSERT INTO tables VALUES (?, ?, ?, ?)", (*key, version, document.decode()))
        return int(version)

    def current(self, artifact_hash: str, known: Mapping[str, str]) -> dict[str, CurrentTable]:
        found = {}
        with self._reading() as db:
            if db is None:
                return {}
            for device_class, version in db.execute(_POINTERS, (artifact_hash,)).fetchall():
                stamp, document = f"{self._file} {version}", None
                if version is not None and known.get(device_class) != stamp:
                    document = _document(db, artifact_hash, device_class, version)
                found[device_class] = CurrentTable(version or 0, stamp, document)
        return found

    def versions(self, artifact_hash: str, device_class: str) -> list[int]:
        with self._reading() as db:
            rows = db.execute(_VERSIONS, (artifact_hash, device_class)).fetchall() if db else []
        return [version for (version,) in rows]

    def document(self, artifact_hash: str, device_class: str, version: int) -> TableDocument | None:
        with self._reading() as db:
            return _document(db, artifact_hash, device_class, version) if db else None

    def rollback(self, artifact_hash: str, device_class: str, version: int) -> None:
        versions = self.versions(artifact_hash, device_class)
        if not versions or version not in (0, *versions):
            raise no_such_version(device_class, version, versions)
        with self._writing() as db:
            db.execute(
                "UPDATE device_classes SET current_version = ? "
                "WHERE artifact_hash = ? AND device_class = ?",
                (version or None, artifact_hash, device_class),
            )

    def delete(self, artifact_hash: str, device_class: str) -> bool:
        if not self.versions(artifact_hash, device_class):
            return False
        key = (artifact_hash, device_class)
        where = "WHERE artifact_hash = ? AND device_class = ?"
        with self._writing() as db:  # last_version stays, so that no number is given twice
            db.execute(f"DELETE FROM tables {where}", key)
            db.execute(f"UPDATE device_classes SET current_version = NULL {where}", key)
        return True

    def close(self) -> None:
        """Give the file back. The store may be used again."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
            self._connection = self._file = None

    def __del__(self) -> None:
        self.close()

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection | None]:
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
    def _writing(self) -> Iterator[sqlite3.Connection]:
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
                self._follow_file(create=create)
                yield self._connection
            except sqlite3.Error as error:
                self.close()
                kind = StoreUnavailableError if _is_busy(error) else StoreError
                raise kind(f"table store {self.path}: {error}") from None
            except OSError as error:
                raise StoreError(f"table store {self.path}: {error.strerror}") from None

    def _follow_file(self, *, create: bool) -> None:
        """(Re)connect where the file appeared or was replaced, let go where it is gone."""
        there = _identity(self.path)
        if self._connection is not None and there != self._file:
            self.close()
        if self._connection is None and (there or create):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = _connect(self.path)
            self._file = _identity(self.path)


def _document(
    db: sqlite3.Connection, artifact_hash: str, device_class: str, version: int
) -> TableDocument | None:
    row = db.execute(_DOCUMENT, (artifact_hash, device_class, version)).fetchone()
    return None if row is None else TableDocument(version, len(row[0] or b""), row[0] or b"")


def _is_busy(error: sqlite3.Error) -> bool:
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF  # without details
    return code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_dev, status.st_ino


def _connect(path: Path) -> sqlite3.Connection:
    # Even a reader writes beside the file. Where it may not, nobody else here can either.
    frozen = path.exists() and not os.access(path.parent, os.W_OK)
    name = f"{path.absolute().as_uri()}?immutable=1" if frozen else path.absolute().as_uri()
    db = sqlite3.connect(
        name, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
    )
    try:
        _prepare(db)
    except BaseException:
        db.close()
        raise
    return db


def _prepare(db: sqlite3.Connection) -> None:
    (schema,) = db.execute("PRAGMA user_version").fetchone()
    if schema not in (0, _SCHEMA_VERSION):
        raise sqlite3.DatabaseError(f"schema {schema}: this version reads {_SCHEMA_VERSION}")
    if schema == 0:
        _when_free(lambda: db.execute("PRAGMA journal_mode = wal"))
        db.executescript(_SCHEMA)
    db.execute("PRAGMA synchronous = full")


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
