"""A follower beside a real server: what is pushed, refused, lost, withdrawn, and away."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import aclosing, closing
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import UnknownDeviceClass
from gateway.stores import sqlite_file
from gateway.stores.embedded_store import EmbeddedStore
from gateway.stores.redis_store import RedisStore
from gateway.stores.table_file import TableFile
from gateway.stores.table_follower import TableFollower
from gateway.stores.tables import CurrentTable, StoreUnavailableError, TableStore
from supernet.latency import LatencyTable
from supernet.manifest import Manifest
from tests.gateway.following import (
    BACK_WITHIN_S,
    PUSHED_WITHIN_S,
    follower_of,
    following,
    phone,
    until,
    versions,
)
from tests.redis_server import RedisServer, running


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A server that a test may kill."""
    with running(RedisServer(tmp_path / "redis")) as server:
        yield server


async def test_every_change_is_served_by_within_a_second(
    follower: TableFollower, store: RedisStore, alpha: LatencyTable, caplog: Any
) -> None:
    caplog.set_level(logging.INFO)
    artifact_hash = alpha.artifact_hash
    async with following(follower):
        assert versions(follower) == {"alpha": 0}
        for change, expected in (
            (lambda: store.put(phone(alpha, 1)), {"alpha": 0, "phone": 1}),
            (lambda: store.put(phone(alpha, 2)), {"alpha": 0, "phone": 2}),
            (lambda: store.put(alpha), {"alpha": 1, "phone": 2}),
            (lambda: store.rollback(artifact_hash, "phone", 1), {"alpha": 1, "phone": 1}),
            (lambda: store.rollback(artifact_hash, "alpha", 0), {"alpha": 0, "phone": 1}),
            (lambda: store.delete(artifact_hash, "phone"), {"alpha": 0}),
        ):
            await change()
            await until(lambda now=expected: versions(follower) == now, PUSHED_WITHIN_S)  # type: ignore[misc]
    told = [r.fields for r in caplog.records if r.getMessage() == "latency table"]
    assert told == [
        {"device_class": name, "version": version}
        for name, version in (
            ("phone", 1), ("phone", 2), ("alpha", 1), ("phone", 1), ("alpha", 0), ("phone", 0)
        )
    ]  # fmt: skip


async def test_aliases_are_followed_and_survive_an_emptied_store(
    follower: TableFollower, store: RedisStore, redis_server: RedisServer, alpha: LatencyTable,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    artifact_hash, classes = alpha.artifact_hash, follower.classes
    await store.set_alias(artifact_hash, "first", "alpha")
    async with following(follower):
        assert classes.resolve("first") == "alpha"
        await store.set_alias(artifact_hash, "pixel", "phone")
        await store.put(phone(alpha, 1))
        await until(lambda: classes.resolve("pixel") == "phone", PUSHED_WITHIN_S)
        redis_server.ask("FLUSHALL")
        await store.set_alias(artifact_hash, "first", "")
        await until(lambda: classes.resolve("first") is None, PUSHED_WITHIN_S)
        assert classes.resolve("pixel") == "phone"
        assert classes.aliases == {"pixel": "phone"}
        await store.put(phone(alpha, 2))
        await until(lambda: versions(follower)["phone"] == 1, PUSHED_WITHIN_S)
    said = [r.getMessage() for r in caplog.records if "aliases" in r.getMessage()]
    assert ["has lost" in line and "pixel" in line for line in said] == [True]


async def test_damaged_aliases_are_in_nobody_s_way(
    follower: TableFollower, store: RedisStore, redis_server: RedisServer, alpha: LatencyTable,
    key: str,
) -> None:  # fmt: skip
    redis_server.ask("HSET", f"{key}:aliases", "x" * 999, "alpha", b"\xff", "alpha", "ok", "alpha")
    async with following(follower):
        assert follower.classes.aliases == {"ok": "alpha"}
        redis_server.ask("SET", f"{key}:aliases", "mine")
        await store.put(phone(alpha, 1))
        await until(lambda: versions(follower) == {"alpha": 0, "phone": 1}, PUSHED_WITHIN_S)
        assert follower.classes.aliases == {"ok": "alpha"}


async def test_a_look_that_finds_nothing_new_reads_no_table(
    follower: TableFollower, store: RedisStore, redis_server: RedisServer, alpha: LatencyTable,
    key: str,
) -> None:  # fmt: skip
    await store.put(phone(alpha, 1))
    async with following(follower):
        before = redis_server.calls()
        for _ in range(5):
            redis_server.ask("PUBLISH", f"{key}:changed", "phone")
        await until(lambda: redis_server.calls()["hgetall"] >= before["hgetall"] + 5, 1)
        assert redis_server.calls()["hmget"] == before["hmget"]


async def test_an_emptied_store_is_no_deletion(
    follower: TableFollower,
    store: RedisStore,
    redis_server: RedisServer,
    alpha: LatencyTable,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for table in (phone(alpha, 1), phone(alpha, 2), alpha):
        await store.put(table)
    async with following(follower):
        redis_server.ask("FLUSHALL")
        redis_server.ask("PUBLISH", f"compofa:{{{alpha.artifact_hash}}}:changed", "")
        await until(lambda: follower.lost == {"alpha", "phone"}, PUSHED_WITHIN_S)
        assert versions(follower) == {"alpha": 1, "phone": 2}
        assert follower.up
        (line,) = [r.getMessage() for r in caplog.records]
        assert "has lost the tables of alpha, phone: serving by the last ones known" in line
        # Numbers begin anew, and what is put is current: nobody compares versions.
        await store.put(phone(alpha, 5))
        await until(lambda: follower.lost == {"alpha"}, PUSHED_WITHIN_S)
        assert versions(follower) == {"alpha": 1, "phone": 1}
        served = follower.classes.table("phone").table.latency_ms
        assert served == phone(alpha, 5).latency_ms
        await store.delete(alpha.artifact_hash, "phone")
        await until(lambda: versions(follower) == {"alpha": 1}, PUSHED_WITHIN_S)


@pytest.mark.parametrize("with_data", [True, False])
async def test_a_killed_store_is_followed_again_once_it_is_back(
    own_server: RedisServer,
    manifest: Manifest,
    alpha: LatencyTable,
    with_data: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    follower = follower_of(manifest, alpha, lambda: RedisStore(own_server.url))
    async with aclosing(RedisStore(own_server.url)) as store:
        await store.put(phone(alpha, 1))
    async with following(follower):
        caplog.clear()
        own_server.kill()
        await until(lambda: not follower.up, 1)
        await asyncio.sleep(0.5)
        assert follower.staleness_s >= 0.5
        assert versions(follower) == {"alpha": 0, "phone": 1}
        if not with_data:
            own_server.forget()
        own_server.start()
        await until(lambda: follower.up, BACK_WITHIN_S)
        assert follower.staleness_s < 0.5
        assert versions(follower) == {"alpha": 0, "phone": 1}
        assert follower.lost == (set() if with_data else {"phone"})
        async with aclosing(RedisStore(own_server.url)) as store:
            expected = await store.put(phone(alpha, 2))
        assert expected == (2 if with_data else 1)
        slower = phone(alpha, 2).latency_ms
        await until(
            lambda: follower.classes.table("phone").table.latency_ms == slower, PUSHED_WITHIN_S
        )
    said = [r.getMessage() for r in caplog.records]
    assert sum("serving by the last ones known: table store redis://" in s for s in said) == 1
    assert sum("is back after" in s for s in said) == 1
    assert sum("has lost" in s for s in said) == (0 if with_data else 1)


async def test_what_was_put_while_nobody_could_hear_is_found(
    own_server: RedisServer, manifest: Manifest, alpha: LatencyTable
) -> None:
    follower = follower_of(manifest, alpha, lambda: RedisStore(own_server.url))
    async with following(follower):
        for _ in range(3):
            own_server.kill()
            await until(lambda: not follower.up, 1)
            own_server.start()
            async with aclosing(RedisStore(own_server.url)) as store:
                version = await store.put(phone(alpha, 1))
            await until(
                lambda now=version: versions(follower).get("phone") == now,  # type: ignore[misc]
                BACK_WITHIN_S,
            )


async def test_a_store_that_falls_silent_is_away(
    own_server: RedisServer, manifest: Manifest, alpha: LatencyTable, monkeypatch: Any
) -> None:
    monkeypatch.setattr("gateway.stores.redis_store.LOOK_EVERY_S", 0.2)
    url = f"{own_server.url}?socket_timeout=0.2&socket_connect_timeout=0.2"
    async with following(follower_of(manifest, alpha, lambda: RedisStore(url))) as follower:
        with own_server.frozen():
            await until(lambda: not follower.up, 2)
        await until(lambda: follower.up, BACK_WITHIN_S)


async def test_a_gateway_begins_without_its_store(
    tmp_path: Path, manifest: Manifest, alpha: LatencyTable, caplog: pytest.LogCaptureFixture
) -> None:
    server = RedisServer(tmp_path / "redis")
    follower = follower_of(manifest, alpha, lambda: RedisStore(server.url))
    with pytest.raises(StoreUnavailableError) as caught:
        await follower.read()
    follower.gone(caught.value)
    async with following(follower, up=False):
        await asyncio.sleep(0.5)
        assert [r.levelname for r in caplog.records] == ["WARNING"], "said once"
        assert versions(follower) == {"alpha": 0}
        assert follower.staleness_s >= 0.5
        with running(server):
            await until(lambda: follower.up, BACK_WITHIN_S)


async def test_another_process_s_lock_on_the_file_holds_up_no_event_loop(
    tmp_path: Path, manifest: Manifest, alpha: LatencyTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_file, "BUSY_TIMEOUT_S", 0.3)
    path = tmp_path / "tables.sqlite3"
    file = TableFile(path)
    file.put(phone(alpha, 1))
    file.close()
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA journal_mode = delete")  # in which a writer keeps readers out
        follower = follower_of(manifest, alpha, lambda: EmbeddedStore(path))
        async with following(follower):
            other.execute("BEGIN EXCLUSIVE")
            slowest_s, until_s = 0.0, time.monotonic() + 10
            while follower.up and time.monotonic() < until_s:
                began = time.monotonic()
                assert follower.classes.table("phone").version == 1
                await asyncio.sleep(0)
                slowest_s = max(slowest_s, time.monotonic() - began)
            assert not follower.up
            assert slowest_s < 0.1
            other.execute("ROLLBACK")
            await until(lambda: follower.up, BACK_WITHIN_S)


class Faulty(EmbeddedStore):
    """A store with a mistake of ours in it."""

    async def current(
        self, artifact_hash: str, known: Mapping[str, str]
    ) -> dict[str, CurrentTable]:
        raise ZeroDivisionError(artifact_hash, known)


async def test_a_mistake_of_ours_does_not_end_the_following(
    tmp_path: Path, manifest: Manifest, alpha: LatencyTable, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "tables.sqlite3"
    stores: Iterator[TableStore] = iter([Faulty(path), EmbeddedStore(path)])
    follower = follower_of(manifest, alpha, lambda: next(stores))
    async with following(follower):
        assert follower.up
    assert sum(r.exc_info is not None for r in caplog.records) == 1


class Unclosable(EmbeddedStore):
    """A store that is away when it is closed."""

    async def aclose(self) -> None:
        await super().aclose()
        raise StoreUnavailableError("gone")


async def test_a_store_that_fails_as_it_is_closed_does_not_keep_the_follower(
    tmp_path: Path, manifest: Manifest, alpha: LatencyTable
) -> None:
    follower = follower_of(manifest, alpha, lambda: Unclosable(tmp_path / "tables.sqlite3"))
    async with following(follower):
        assert follower.up


def test_without_a_table_a_class_is_unknown(follower: TableFollower) -> None:
    with pytest.raises(UnknownDeviceClass):
        follower.classes.candidates("phone")
    assert (follower.up, follower.lost, follower.refused) == (False, frozenset(), {})
