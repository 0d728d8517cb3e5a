"""Learned versions in a real store: what they stand on, when none is put, which are kept."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from gateway.device_classes import DeviceClasses
from gateway.learning.learned_versions import LearnedVersions
from gateway.stores.embedded_store import EmbeddedStore
from gateway.stores.redis_store import RedisStore
from gateway.stores.table_check import RefusedTableError
from gateway.stores.tables import StoredTable, TableStore
from supernet.latency import LatencyTable
from supernet.manifest import Manifest
from tests.gateway.following import phone
from tests.redis_server import RedisServer


@pytest.fixture(params=["embedded", "redis"])
async def store(
    request: pytest.FixtureRequest, tmp_path: Path, redis_server: RedisServer
) -> AsyncIterator[TableStore]:
    url, path = redis_server.url, tmp_path / "tables.sqlite3"
    opened = EmbeddedStore(path) if request.param == "embedded" else RedisStore(url)
    async with aclosing(opened) as store:
        yield store


@pytest.fixture
def versions(manifest: Manifest, alpha: LatencyTable) -> LearnedVersions:
    return LearnedVersions(DeviceClasses(manifest, [alpha]), manifest, keep=3)


def learned(table: LatencyTable, base: int) -> LatencyTable:
    conditions = {"base_version": str(base)}
    return table.model_copy(update={"kind": "learned", "conditions": conditions})


async def test_a_version_is_put_over_what_is_current(
    store: TableStore, versions: LearnedVersions, alpha: LatencyTable
) -> None:
    bundled, imported = StoredTable(0, alpha), phone(alpha, 1)
    assert await versions.put(store, bundled, learned(alpha, 0)) == 1
    assert await versions.put(store, bundled, learned(alpha, 0)) is None, "it no longer is"
    assert await versions.put(store, StoredTable(1, alpha), learned(alpha, 0)) == 2
    assert await store.put(imported) == 1
    stale = StoredTable(1, imported)
    await store.put(phone(alpha, 2))
    assert await versions.put(store, stale, learned(imported, 1)) is None
    assert await store.versions(alpha.artifact_hash, "phone") == [1, 2]


async def test_two_gateways_at_once_publish_one(
    store: TableStore, versions: LearnedVersions, manifest: Manifest, alpha: LatencyTable
) -> None:
    other = LearnedVersions(DeviceClasses(manifest, [alpha]), manifest, keep=3)
    over = StoredTable(0, alpha)
    assert await versions.put(store, over, learned(alpha, 0)) == 1
    assert await other.put(store, over, learned(alpha, 0)) is None


async def test_a_class_that_was_rolled_back_stays(
    store: TableStore, versions: LearnedVersions, alpha: LatencyTable, caplog: Any
) -> None:
    key = alpha.artifact_hash
    await store.put(phone(alpha, 1))
    await versions.put(store, StoredTable(1, phone(alpha, 1)), learned(phone(alpha, 1), 1))
    await store.rollback(key, "phone", 1)
    for _ in range(3):
        over = StoredTable(1, phone(alpha, 1))
        assert await versions.put(store, over, learned(phone(alpha, 2), 1)) is None
    (record,) = caplog.records
    assert record.fields["reason"].startswith("rolled back: nothing is learned until another")
    await store.rollback(key, "phone", 0)
    withdrawn = StoredTable(0, phone(alpha, 1))
    assert await versions.put(store, withdrawn, learned(phone(alpha, 2), 0)) is None
    fresh = await store.put(phone(alpha, 3))
    over = StoredTable(fresh, phone(alpha, 3))
    assert await versions.put(store, over, learned(phone(alpha, 3), fresh)) == fresh + 1
    await store.delete(key, "phone")
    assert await versions.put(store, withdrawn, learned(phone(alpha, 2), 0)) == fresh + 2


async def test_the_base_of_a_learned_version(
    store: TableStore, versions: LearnedVersions, alpha: LatencyTable, caplog: Any
) -> None:
    imported = phone(alpha, 1)
    await store.put(imported)
    current = StoredTable(2, learned(phone(alpha, 2), 1))
    base = await versions.base_of(store, current)
    assert base is not None
    assert (base.version, base.table.latency_ms) == (1, imported.latency_ms)
    assert await versions.base_of(store, base) is base
    bundled = await versions.base_of(store, StoredTable(4, learned(alpha, 0)))
    assert bundled == StoredTable(0, alpha)
    assert await versions.base_of(store, StoredTable(9, learned(imported, 7))) is None
    assert [r.fields["reason"] for r in caplog.records] == [
        "the version that it was learned from is gone"
    ]


async def test_only_old_learned_versions_are_forgotten(
    store: TableStore, versions: LearnedVersions, alpha: LatencyTable
) -> None:
    key = alpha.artifact_hash
    await store.put(phone(alpha, 1))
    for _ in range(4):
        await store.put(learned(phone(alpha, 2), 1))
    await store.put(phone(alpha, 3))
    for current in range(7, 13):
        assert await store.put(learned(phone(alpha, 4), 6)) == current
        await versions.prune(store, "phone", current)
        kept = await store.versions(key, "phone")
        assert {1, 6, current} <= set(kept)
        assert len(set(kept) - {1, 6}) == 3
    await store.rollback(key, "phone", 10)
    for _ in range(2):
        await versions.prune(store, "phone", 10)
    assert (await store.current(key, {}))["phone"].version == 10
    assert 10 in await store.versions(key, "phone")


async def test_a_damaged_version_is_nobody_s_to_forget(
    redis_server: RedisServer, versions: LearnedVersions, alpha: LatencyTable, key: str
) -> None:
    async with aclosing(RedisStore(redis_server.url)) as store:
        for _ in range(6):
            await store.put(learned(phone(alpha, 2), 0))
        redis_server.ask("HSET", f"{key}:table:phone", 1, "{}")
        await versions.prune(store, "phone", 6)
        assert await store.versions(alpha.artifact_hash, "phone") == [1, 4, 5, 6]


async def test_a_table_that_nobody_would_serve_by_is_not_put(
    store: TableStore, versions: LearnedVersions, alpha: LatencyTable
) -> None:
    absurd = learned(alpha, 0).model_copy(update={"latency_ms": {"d2-2@12": 1e9}})
    with pytest.raises(RefusedTableError):
        await versions.put(store, StoredTable(0, alpha), absurd)
    assert await store.current(alpha.artifact_hash, {}) == {}
