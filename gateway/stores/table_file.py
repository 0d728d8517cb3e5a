"""Latency tables in one SQLite file, which several processes may share. Blocking."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Collection, Mapping
from pathlib import Path

from gateway.stores.sqlite_file import SqliteFile
from gateway.stores.tables import CurrentTable, TableDocument, document_of, no_such_version
from supernet.latency import LatencyTable

_SCHEMA_VERSION = 2  # 1 had no aliases and no evidence
_SCHEMA = f"""
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS device_classes (
    artifact_hash TEXT NOT NULL, device_class TEXT NOT NULL,
    last_version INTEGER NOT NULL, current_version INTEGER,
    PRIMARY KEY (artifact_hash, device_class));
CREATE TABLE IF NOT EXISTS tables (
    artifact_hash TEXT NOT NULL, device_class TEXT NOT NULL, version INTEGER NOT NULL,
    document TEXT NOT NULL, PRIMARY KEY (artifact_hash, device_class, version));
CREATE TABLE IF NOT EXISTS aliases (
    artifact_hash TEXT NOT NULL, alias TEXT NOT NULL, device_class TEXT NOT NULL,
    PRIMARY KEY (artifact_hash, alias));
CREATE TABLE IF NOT EXISTS evidence (
    artifact_hash TEXT NOT NULL, device_class TEXT NOT NULL, member TEXT NOT NULL,
    at REAL NOT NULL, document BLOB NOT NULL,
    PRIMARY KEY (artifact_hash, device_class, member));
PRAGMA user_version = {_SCHEMA_VERSION};
COMMIT;
"""
_POINTERS = """
SELECT device_class, current_version FROM device_classes WHERE artifact_hash = ?
"""
_NEXT_VERSION = """
INSERT INTO device_classes VALUES (?, ?, 1, 1) ON CONFLICT DO UPDATE SET
last_version = last_version + 1, current_version = last_version + 1
RETURNING last_version
"""
_DOCUMENT = """
SELECT CAST(document AS BLOB) FROM tables
WHERE artifact_hash = ? AND device_class = ? AND version = ?
"""
_VERSIONS = """
SELECT version FROM tables WHERE artifact_hash = ? AND device_class = ? ORDER BY version
"""
_CLASS = "WHERE artifact_hash = ? AND device_class = ?"


class TableFile:
    """Tables in one SQLite file, made at the first `put`. A kill loses nothing committed.

    What each method does is said at `TableStore`. All of them may wait for other processes.
    Safe to use from several threads.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = SqliteFile(path, _SCHEMA, _SCHEMA_VERSION)
        self.close = self._file.close

    def put(self, table: LatencyTable) -> int:
        document = document_of(table)
        with self._file.writing() as db:
            return _put(db, table, document)

    def put_over(self, table: LatencyTable, stamp: str) -> int | None:
        document = document_of(table)
        with self._file.writing() as db:
            key = (table.artifact_hash, table.device_class)
            row = db.execute(f"SELECT current_version FROM device_classes {_CLASS}", key).fetchone()
            if stamp != ("" if row is None else self._stamp(row[0])):
                return None
            return _put(db, table, document)

    def current(self, artifact_hash: str, known: Mapping[str, str]) -> dict[str, CurrentTable]:
        found = {}
        with self._file.reading() as db:
            if db is None:
                return {}
            for device_class, said in db.execute(_POINTERS, (artifact_hash,)).fetchall():
                stamp, document, version = self._stamp(said), None, _pointed_at(said)
                if version and known.get(device_class) != stamp:
                    nothing = TableDocument(version, 0, b"")  # to be refused by its name
                    document = _document(db, artifact_hash, device_class, version) or nothing
                found[device_class] = CurrentTable(version, stamp, document)
        return found

    def versions(self, artifact_hash: str, device_class: str) -> list[int]:
        with self._file.reading() as db:
            rows = db.execute(_VERSIONS, (artifact_hash, device_class)).fetchall() if db else []
        return [version for (version,) in rows]

    def document(self, artifact_hash: str, device_class: str, version: int) -> TableDocument | None:
        with self._file.reading() as db:
            return _document(db, artifact_hash, device_class, version) if db else None

    def rollback(self, artifact_hash: str, device_class: str, version: int) -> None:
        if not self.versions(artifact_hash, device_class):  # and no file is made
            raise no_such_version(device_class, version, [])
        with self._file.writing() as db:
            rows = db.execute(_VERSIONS, (artifact_hash, device_class)).fetchall()
            versions = [kept for (kept,) in rows]  # now, when nobody can prune them
            if not versions or version not in (0, *versions):
                raise no_such_version(device_class, version, versions)
            db.execute(
                f"UPDATE device_classes SET current_version = ? {_CLASS}",
                (version or None, artifact_hash, device_class),
            )

    def delete(self, artifact_hash: str, device_class: str) -> bool:
        if not self.versions(artifact_hash, device_class):  # and no file is made
            return False
        key = (artifact_hash, device_class)
        with self._file.writing() as db:  # last_version stays, so that no number is given twice
            deleted = db.execute(f"DELETE FROM tables {_CLASS}", key).rowcount
            db.execute(f"UPDATE device_classes SET current_version = NULL {_CLASS}", key)
        return deleted > 0

    def prune(self, artifact_hash: str, device_class: str, versions: Collection[int]) -> None:
        key = (artifact_hash, device_class)
        spare = f"(SELECT current_version FROM device_classes {_CLASS})"
        with self._file.writing() as db:
            db.executemany(
                f"DELETE FROM tables {_CLASS} AND version = ? AND version IS NOT {spare}",
                [(*key, version, *key) for version in versions],
            )

    def aliases(self, artifact_hash: str) -> dict[str, str]:
        with self._file.reading() as db:
            if db is None or not _has_aliases(db):
                return {}
            found = db.execute(
                "SELECT alias, device_class FROM aliases WHERE artifact_hash = ?", (artifact_hash,)
            )
            return dict(found.fetchall())

    def set_alias(self, artifact_hash: str, alias: str, device_class: str) -> None:
        with self._file.writing() as db:
            row = (artifact_hash, alias, device_class)
            db.execute("INSERT OR REPLACE INTO aliases VALUES (?, ?, ?)", row)

    def share_evidence(
        self, artifact_hash: str, device_class: str, member: str, evidence: bytes, keep_s: float
    ) -> list[bytes]:
        key, now = (artifact_hash, device_class), time.time()
        with self._file.writing() as db:
            row = (*key, member, now, evidence)
            db.execute("INSERT OR REPLACE INTO evidence VALUES (?, ?, ?, ?, ?)", row)
            db.execute("DELETE FROM evidence WHERE abs(? - at) > ?", (now, keep_s))
            found = db.execute(f"SELECT document FROM evidence {_CLASS}", key).fetchall()
        return [document for (document,) in found]

    def _stamp(self, version: object) -> str:
        return f"{self._file.identity} {version}"


def _put(db: sqlite3.Connection, table: LatencyTable, document: bytes) -> int:
    key = (table.artifact_hash, table.device_class)
    ((version,),) = db.execute(_NEXT_VERSION, key).fetchall()
    db.execute("INSERT INTO tables VALUES (?, ?, ?, ?)", (*key, version, document.decode()))
    return int(version)


def _document(
    db: sqlite3.Connection, artifact_hash: str, device_class: str, version: int
) -> TableDocument | None:
    row = db.execute(_DOCUMENT, (artifact_hash, device_class, version)).fetchone()
    return None if row is None else TableDocument(version, len(row[0] or b""), row[0] or b"")


def _pointed_at(said: object) -> int:
    """The version that a pointer names: 0 for none, -1 where it is damaged."""
    if said is None:
        return 0
    return said if isinstance(said, int) and said > 0 else -1


def _has_aliases(db: sqlite3.Connection) -> bool:
    """Whether the file is not an older one that may only be read."""
    return bool(db.execute("SELECT 1 FROM sqlite_master WHERE name = 'aliases'").fetchone())
