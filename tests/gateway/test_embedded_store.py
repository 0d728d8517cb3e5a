from __future__ import annotations

import multiprocessing
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.embedded_store import EmbeddedStore
from gateway.tables import StoreError
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
def store(path: Path) -> EmbeddedStore:
    return EmbeddedStore(path)


def current_ms(store: EmbeddedStore) -> dict[str, tuple[int, float]]:
    return {
        s.table.device_class: (s.version, s.table.latency_ms["d2-2@16"])
        for s in store.current(HASH)
    }


def test_reading_makes_no_file(store: EmbeddedStore, path: Path) -> None:
    assert store.current(HASH) == []
    assert store.history(HASH, "phone") == []
    assert store.generation() is None
    assert not path.exists()


def test_versions_count_from_one_and_the_last_is_current(store: EmbeddedStore) -> None:
    assert [store.put(table(ms=ms)) for ms in (1.0, 2.0)] == [1, 2]
    assert store.put(table("watch", 9.0)) == 1
    assert store.put(table(artifact_hash="b" * 32)) == 1
    assert current_ms(store) == {"phone": (2, 2.0), "watch": (1, 9.0)}
    assert [s.version for s in store.history(HASH, "phone")] == [1, 2]


def test_rollback_moves_the_pointer_only(store: EmbeddedStore) -> None:
    for ms in (1.0, 2.0, 3.0):
        store.put(table(ms=ms))
    store.rollback(HASH, "phone", 1)
    assert current_ms(store) == {"phone": (1, 1.0)}
    assert len(store.history(HASH, "phone")) == 3
    assert store.put(table(ms=4.0)) == 4
    store.rollback(HASH, "phone", 0)
    assert current_ms(store) == {}


def test_rollback_to_nowhere(store: EmbeddedStore) -> None:
    store.put(table())
    with pytest.raises(ValueError, match=r"no version 7: expected one of 1$"):
        store.rollback(HASH, "phone", 7)
    with pytest.raises(ValueError, match="its table is not in this store"):
        store.rollback(HASH, "watch", 1)


def test_a_deleted_class_does_not_give_its_numbers_again(store: EmbeddedStore) -> None:
    store.put(table())
    assert store.delete(HASH, "phone")
    assert not store.delete(HASH, "phone")
    assert current_ms(store) == {}
    assert store.put(table()) == 2


def test_what_another_store_wrote_is_noticed_and_seen(path: Path) -> None:
    reader, writer = EmbeddedStore(path), EmbeddedStore(path)
    seen = [reader.generation()]
    for change in (
        lambda: writer.put(table(ms=1.0)),
        lambda: writer.put(table(ms=2.0)),
        lambda: writer.rollback(HASH, "phone", 1),
        lambda: reader.put(table(ms=3.0)),
        lambda: writer.delete(HASH, "phone"),
    ):
        change()
        seen.append(reader.generation())
        assert reader.generation() == seen[-1]
        assert current_ms(reader) == current_ms(writer)
    assert len(set(seen)) == len(seen)


def test_a_file_that_is_replaced_is_followed(path: Path) -> None:
    store = EmbeddedStore(path)
    store.put(table(ms=1.0))
    before = store.generation()
    other = EmbeddedStore(path.with_name("other.sqlite3"))
    other.put(table(ms=5.0))
    other.close()
    for leftover in path.parent.glob(f"{path.name}-*"):
        leftover.unlink()
    other.path.replace(path)
    assert store.generation() != before
    assert current_ms(store) == {"phone": (1, 5.0)}


@pytest.mark.parametrize(
    "content", [b"this is no database" * 100, b"SQLite format 3\0" + b"x" * 9000]
)
def test_a_corrupt_file_is_named(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    store = EmbeddedStore(path)
    with pytest.raises(StoreError, match=rf"table store {path}: ") as caught:
        store.current(HASH)
    assert "\n" not in str(caught.value)
    with pytest.raises(StoreError):
        store.put(table())
    assert path.read_bytes() == content


def test_a_file_of_another_schema_is_left_alone(path: Path) -> None:
    path.parent.mkdir()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 7")
    db.close()
    with pytest.raises(StoreError, match="schema 7: this version reads 1"):
        EmbeddedStore(path).put(table())


def test_a_folder_is_not_a_store(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=str(tmp_path)):
        EmbeddedStore(tmp_path).current(HASH)


def _put_some(path: Path, count: int) -> None:
    store = EmbeddedStore(path)
    for _ in range(count):
        store.put(table())
    store.close()


def test_several_processes_may_write_at_once(path: Path, store: EmbeddedStore) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_put_some, args=(path, 5)) for _ in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    assert [s.version for s in store.history(HASH, "phone")] == list(range(1, 16))


KILLED_WHILE_WRITING = """
import os, sys
from pathlib import Path
from gateway.embedded_store import EmbeddedStore
from supernet.latency import LatencyTable
store = EmbeddedStore(Path(sys.argv[1]))
table = LatencyTable.model_validate_json(sys.argv[2])
store.put(table)
with store._writing() as db:
    db.execute("DELETE FROM tables")
    os.kill(os.getpid(), 9)
"""


def test_a_kill_in_a_transaction_loses_only_that(path: Path, store: EmbeddedStore) -> None:
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
