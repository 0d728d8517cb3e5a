from __future__ import annotations

import json
import multiprocessing
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from gateway.stores.table_file import TableFile
from gateway.stores.tables import StoreError
from supernet.latency import LatencyTable

HASH = "a" * 32


def table(device_class: str = "phone", ms: float = 1.0, artifact_hash: str = HASH) -> LatencyTable:
    return LatencyTable(
        device_class=device_class, artifact_hash=artifact_hash, source="made up", measured=False,
        latency_ms={"d2-2@16": ms},
    )  # fmt: skip


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "tables.sqlite3"


@pytest.fixture
def store(path: Path) -> TableFile:
    return TableFile(path)


def current_ms(store: TableFile) -> dict[str, tuple[int, float]]:
    """Version and latency of each class that has a current table."""
    found = {}
    for name, now in store.current(HASH, {}).items():
        if now.version:
            assert now.document is not None
            assert now.document.size == len(now.document.text)
            table = LatencyTable.model_validate_json(now.document.text)
            found[name] = (now.version, table.latency_ms["d2-2@16"])
    return found


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM tables WHERE version = 2",
        "UPDATE device_classes SET current_version = 77",
        "UPDATE device_classes SET current_version = 'abc'",
        "UPDATE device_classes SET current_version = -5",
    ],
)
def test_a_pointer_to_nothing_is_a_table_that_cannot_be_read(
    store: TableFile, path: Path, damage: str
) -> None:
    store.put(table())
    store.put(table(ms=2.0))
    known = {name: now.stamp for name, now in store.current(HASH, {}).items()}
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(damage)
    now = store.current(HASH, {})["phone"]
    assert now.document is not None
    assert (now.document.size, now.version) != (0, 0)
    assert now.document.text == b""
    assert store.versions(HASH, "phone")[0] == 1
    if "UPDATE" in damage:
        assert store.current(HASH, known)["phone"].document == now.document


def test_what_was_pruned_meanwhile_is_not_rolled_back_to(
    store: TableFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    for ms in (1.0, 2.0, 3.0):
        store.put(table(ms=ms))
    store.prune(HASH, "phone", [2])
    monkeypatch.setattr(store, "versions", lambda *_: [1, 2, 3])  # as it was a moment ago
    with pytest.raises(ValueError, match="has no version 2: expected one of 1, 3"):
        store.rollback(HASH, "phone", 2)
    assert current_ms(store) == {"phone": (3, 3.0)}


def test_reading_makes_no_file(store: TableFile, path: Path) -> None:
    assert store.current(HASH, {}) == {}
    assert store.versions(HASH, "phone") == []
    assert store.document(HASH, "phone", 1) is None
    assert not path.exists()


def test_what_another_connection_wrote_is_seen(path: Path) -> None:
    reader, writer = TableFile(path), TableFile(path)
    for change in (
        lambda: writer.put(table(ms=1.0)),
        lambda: writer.put(table(ms=2.0)),
        lambda: writer.rollback(HASH, "phone", 1),
        lambda: reader.put(table(ms=3.0)),
        lambda: writer.delete(HASH, "phone"),
    ):
        change()
        assert current_ms(reader) == current_ms(writer)


def test_a_file_that_is_replaced_is_followed(path: Path) -> None:
    store = TableFile(path)
    store.put(table(ms=1.0))
    before = {name: now.stamp for name, now in store.current(HASH, {}).items()}
    other = TableFile(path.with_name("other.sqlite3"))
    other.put(table(ms=5.0))
    other.close()
    for leftover in path.parent.glob(f"{path.name}-*"):
        leftover.unlink()
    other.path.replace(path)
    assert store.current(HASH, before)["phone"].document is not None, "another table, same version"
    assert current_ms(store) == {"phone": (1, 5.0)}


@pytest.mark.parametrize(
    "content", [b"this is no database" * 100, b"SQLite format 3\0" + b"x" * 9000]
)
def test_a_corrupt_file_is_named(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    store = TableFile(path)
    with pytest.raises(StoreError, match=rf"table store {path}: ") as caught:
        store.current(HASH, {})
    assert "\n" not in str(caught.value)
    with pytest.raises(StoreError):
        store.put(table())
    assert path.read_bytes() == content


def test_a_file_of_another_schema_is_left_alone(path: Path) -> None:
    path.parent.mkdir()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 7")
    db.close()
    with pytest.raises(StoreError, match="schema 7: this version reads 2"):
        TableFile(path).put(table())


SCHEMA_1 = """
CREATE TABLE device_classes (
    artifact_hash TEXT NOT NULL, device_class TEXT NOT NULL,
    last_version INTEGER NOT NULL, current_version INTEGER,
    PRIMARY KEY (artifact_hash, device_class));
CREATE TABLE tables (
    artifact_hash TEXT NOT NULL, device_class TEXT NOT NULL, version INTEGER NOT NULL,
    document TEXT NOT NULL, PRIMARY KEY (artifact_hash, device_class, version));
PRAGMA user_version = 1;
"""


def write_schema_1(path: Path) -> None:
    """A file as the first version made it, without what tables say since."""
    path.parent.mkdir(parents=True)
    document = json.loads(table(ms=3.0).model_dump_json(exclude={"kind", "created_by"}))
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA journal_mode = wal")
        db.executescript(SCHEMA_1)
        db.execute("INSERT INTO device_classes VALUES (?, 'phone', 4, 4)", (HASH,))
        row = (HASH, json.dumps(document))
        db.execute("INSERT INTO tables VALUES (?, 'phone', 4, ?)", row)
        db.commit()


def test_a_file_of_the_first_schema_is_read_and_gets_what_it_lacks(path: Path) -> None:
    write_schema_1(path)
    old = TableFile(path)
    assert current_ms(old) == {"phone": (4, 3.0)}
    assert old.aliases(HASH) == {}
    old.set_alias(HASH, "pixel", "phone")
    assert old.put(table(ms=5.0)) == 5
    assert old.share_evidence(HASH, "phone", "me", b"x", 60) == [b"x"]
    again = TableFile(path)
    assert current_ms(again) == {"phone": (5, 5.0)}
    assert again.aliases(HASH) == {"pixel": "phone"}


def test_a_file_of_the_first_schema_that_may_only_be_read(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_schema_1(path)
    monkeypatch.setattr(os, "access", lambda *_: False)  # as for anyone but root in such a folder
    old = TableFile(path)
    assert current_ms(old) == {"phone": (4, 3.0)}
    assert old.aliases(HASH) == {}
    with pytest.raises(StoreError, match="attempt to write a readonly database"):
        old.put(table())


def test_a_folder_is_not_a_store(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=str(tmp_path)):
        TableFile(tmp_path).current(HASH, {})


def _put_some(path: Path, count: int) -> None:
    store = TableFile(path)
    for _ in range(count):
        store.put(table())
    store.close()


def test_several_processes_may_write_at_once(path: Path, store: TableFile) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_put_some, args=(path, 5)) for _ in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    assert store.versions(HASH, "phone") == list(range(1, 16))


KILLED_WHILE_WRITING = """
import os, sys
from pathlib import Path
from gateway.stores.table_file import TableFile
from supernet.latency import LatencyTable
store = TableFile(Path(sys.argv[1]))
table = LatencyTable.model_validate_json(sys.argv[2])
store.put(table)
with store._file.writing() as db:
    db.execute("DELETE FROM tables")
    os.kill(os.getpid(), 9)
"""


def test_a_kill_in_a_transaction_loses_only_that(path: Path, store: TableFile) -> None:
    command = [
        sys.executable,
        "-c",
        KILLED_WHILE_WRITING,
        str(path),
        table(ms=7.0).model_dump_json(),
    ]
    assert subprocess.run(command, check=False, timeout=60).returncode == -9
    assert current_ms(store) == {"phone": (1, 7.0)}
    assert store.put(table(ms=8.0)) == 2
