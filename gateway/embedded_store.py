"""A store of latency tables in one SQLite file, which several processes may share."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from gateway.tables import StoredTable, StoreError
from supernet.latency import LatencyTable

BUSY_TIMEOUT_S = 10.0

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
_CURRENT = """
SELECT version, document FROM tables NATURAL JOIN device_classes
WHERE version = current_version AND artifact_hash = ?
"""


class EmbeddedStore:
    """Tables in one SQLite file, made at the first `put`. A kill loses nothing committed.

    Every method raises `StoreError` naming the file where it cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        self._own_changes = 0

    def put(self, table: LatencyTable) -> int:
        key = (table.artifact_hash, table.device_class)
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
            row = (*key, version, table.model_dump_json())
            db.execute("INSERT INTO tables VALUES (?, ?, ?, ?)", row)
        return int(version)

    def current(self, artifact_hash: str) -> list[StoredTable]:
        return self._read(_CURRENT + "ORDER BY device_class", (artifact_hash,))

    def history(self, artifact_hash: str, device_class: str) -> list[StoredTable]:
        return self._read(
            "SELECT version, document FROM tables "
            "WHERE artifact_hash = ? AND device_class = ? ORDER BY version",
            (artifact_hash, device_class),
        )

    def rollback(self, artifact_hash: str, device_class: str, version: int) -> None:
        versions = [stored.version for stored in self.history(artifact_hash, device_class)]
        if not versions or version not in (0, *versions):
            raise ValueError(
                f"device class {device_class!r} has no version {version}: expected one of "
                f"{', '.join(map(str, versions)) or 'none, its table is not in this store'}"
            )
        with self._writing() as db:
            db.execute(
                "UPDATE device_classes SET current_version = ? "
                "WHERE artifact_hash = ? AND device_class = ?",
                (version or None, artifact_hash, device_class),
            )

    def delete(self, artifact_hash: str, device_class: str) -> bool:
        if not self.history(artifact_hash, device_class):
            return False
        key = (artifact_hash, device_class)
        where = "WHERE artifact_hash = ? AND device_class = ?"
        with self._writing() as db:  # last_version stays, so that no number is given twice
            db.execute(f"DELETE FROM tables {where}", key)
            db.execute(f"UPDATE device_classes SET current_version = NULL {where}", key)
        return True

    def generation(self) -> object:
        with self._using() as db:
            if db is None:
                return None
            (version,) = db.execute("PRAGMA data_version").fetchone()
            return self._file, version, self._own_changes

    def close(self) -> None:
        """Give the file back. The store may be used again."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
            self._connection = self._file = None

    def __del__(self) -> None:
        self.close()

    def _read(self, query: str, parameters: tuple[str, ...]) -> list[StoredTable]:
        with self._using() as db:
            rows = db.execute(query, parameters).fetchall() if db is not None else []
        try:
            return [StoredTable(v, LatencyTable.model_validate_json(text)) for v, text in rows]
        except ValidationError:
            raise StoreError(f"table store {self.path}: it holds a table that is damaged") from None

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction: all of it is kept or nothing."""
        with self._using(create=True) as db:
            assert db is not None
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
            except BaseException:
                db.execute("ROLLBACK")
                raise
            db.execute("COMMIT")
            self._own_changes += 1

    @contextmanager
    def _using(self, *, create: bool = False) -> Iterator[sqlite3.Connection | None]:
        """The connection to the file that is there now, or None where there is no file."""
        with self._lock:
            try:
                self._follow_file(create=create)
                yield self._connection
            except sqlite3.Error as error:
                self.close()
                raise StoreError(f"table store {self.path}: {error}") from None
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
