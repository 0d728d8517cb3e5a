"""Bad tables in a real server, written past the store: refused by name, and the last good one
serves on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest

from gateway.stores import table_follower
from gateway.stores.redis_store import RedisStore
from gateway.stores.table_follower import TableFollower
from supernet.latency import LatencyTable
from tests.gateway.following import PUSHED_WITHIN_S, following, phone, until, versions
from tests.redis_server import RedisServer


def with_change(table: LatencyTable, change: dict[str, Any]) -> bytes:
    return json.dumps(json.loads(table.model_dump_json()) | change).encode()


def write(server: RedisServer, key: str, text: bytes, version: int, name: str = "phone") -> None:
    """A table straight into the server, with its checksum, as another program might."""
    sha256 = hashlib.sha256(text).hexdigest()
    server.ask("HSET", f"{key}:table:{name}", version, text, f"{version}.sha256", sha256)
    server.ask("HSET", f"{key}:current", name, f"{version} {sha256}")
    server.ask("PUBLISH", f"{key}:changed", name)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"latency_ms": {"d2-2@12": float("nan")}}, "latency"),
        ({"latency_ms": {"d2-2@12": -1.0}}, "latency"),
        ({"latency_ms": {"d2-2@12": 0.0}}, "latency"),
        ({"latency_ms": {"d2-2@12": 1e12}}, "latency"),
        ({"latency_ms": {"d2-2@12": 1e-12}}, "latency"),
        ({"latency_ms": {"d9-9@12": 1.0}}, "subnets"),
        ({"artifact_hash": "0" * 32}, "artifact"),
        ({"device_class": "watch"}, "device_class"),
        ({"latency_ms": None}, "latency"),
    ],
)
async def test_a_bad_table_is_refused_by_name_and_the_last_good_one_serves_on(
    follower: TableFollower,
    store: RedisStore,
    redis_server: RedisServer,
    alpha: LatencyTable,
    key: str,
    change: dict[str, Any],
    reason: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    await store.put(phone(alpha, 1))
    async with following(follower):
        write(redis_server, key, with_change(phone(alpha, 2), change), version=2)
        await until(lambda: "phone" in follower.refused, PUSHED_WITHIN_S)
        assert follower.refused["phone"].reason == reason
        assert versions(follower) == {"alpha": 0, "phone": 1}
        (line,) = [r.getMessage() for r in caplog.records]
        assert "device class 'phone': version 2 in redis://127.0.0.1:" in line
        assert line.endswith("serving by version 1")
        await store.put(alpha)
        await until(lambda: versions(follower)["alpha"] == 1, PUSHED_WITHIN_S)
        assert len(caplog.records) == 1, "said once"
        await store.put(phone(alpha, 3))
        await until(lambda: versions(follower)["phone"] == 3, PUSHED_WITHIN_S)
        await until(lambda: not follower.refused, PUSHED_WITHIN_S)  # said once the look has ended


@pytest.mark.parametrize(
    "damage",
    [
        lambda server, key: server.ask("HSET", f"{key}:table:phone", 1, b"{" + b"x" * 500),
        lambda server, key: server.ask("HDEL", f"{key}:table:phone", 1),
        lambda server, key: server.ask("HSET", f"{key}:current", "phone", "1 and more"),
        lambda server, key: server.ask("HSET", f"{key}:current", "phone", "1 " + "0" * 64),
        lambda server, key: server.ask("HSET", f"{key}:current", "phone", b"\xff"),
        lambda server, key: server.ask("HSET", f"{key}:current", "phone", ""),
        lambda server, key: server.ask("HSET", f"{key}:current", "phone", "0 " + "0" * 64),
        lambda server, key: server.ask("SET", f"{key}:table:phone", "no hash"),
    ],
)
async def test_silent_damage_is_found_before_a_restart_needs_the_table(
    follower: TableFollower,
    store: RedisStore,
    redis_server: RedisServer,
    alpha: LatencyTable,
    key: str,
    damage: Callable[[RedisServer, str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(table_follower, "READ_ALL_EVERY_S", 0.0)
    await store.put(phone(alpha, 1))
    async with following(follower):
        damage(redis_server, key)
        redis_server.ask("PUBLISH", f"{key}:changed", "phone")  # not to wait for the next look
        await until(lambda: "phone" in follower.refused, PUSHED_WITHIN_S)
        assert follower.refused["phone"].reason == "checksum"
        assert versions(follower) == {"alpha": 0, "phone": 1}


async def test_a_process_that_begins_takes_the_newest_good_version(
    follower: TableFollower,
    store: RedisStore,
    redis_server: RedisServer,
    alpha: LatencyTable,
    key: str,
) -> None:
    for factor in (1, 2):
        await store.put(phone(alpha, factor))
    for version in (3, 4):
        write(redis_server, key, b"damaged", version)
    write(redis_server, key, b"damaged", 1, name="never-good")
    await follower.read()
    assert versions(follower) == {"alpha": 0, "phone": 2}
    assert set(follower.refused) == {"phone", "never-good"}


async def test_a_name_that_is_none_is_refused_like_any_damage(
    follower: TableFollower, redis_server: RedisServer, alpha: LatencyTable, key: str
) -> None:
    names = ("x" * 5000, "a b", "../up", "\n")
    for name in names:
        write(redis_server, key, with_change(alpha, {"device_class": name}), 1, name)
    await follower.read()
    assert set(follower.refused) == set(names)
    assert versions(follower) == {"alpha": 0}
