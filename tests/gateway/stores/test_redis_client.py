"""Which URLs there are, what they mean, and that a password never shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis, RedisCluster

from gateway.stores.redis_client import RedisConnection
from gateway.stores.tables import StoreError
from supernet.masking import masked

OPTIONS = {"socket_timeout": 5.0, "socket_connect_timeout": 2.0, "protocol": 2}


def connection_of(client: Redis | RedisCluster) -> dict[str, Any]:
    """What redis-py would connect with."""
    if isinstance(client, RedisCluster):
        options = dict(client.connection_kwargs)
        return options | {"nodes": [(n.host, n.port) for n in client.startup_nodes]}
    pool: Any = client.connection_pool
    return dict(pool.connection_kwargs) | {"class": pool.connection_class.__name__}


@pytest.mark.parametrize(
    ("url", "name", "expected"),
    [
        ("redis://host", "redis://host:6379",
         {"host": "host", "port": 6379, "class": "Connection", **OPTIONS}),
        ("redis://me:pa%2Fss@host:7000/3", "redis://host:7000/3",
         {"host": "host", "port": 7000, "db": 3, "username": "me", "password": "pa/ss"}),
        ("redis://:s@host/?socket_timeout=0.5&protocol=3", "redis://host:6379",
         {"password": "s", "socket_timeout": 0.5, "protocol": 3}),
        ("redis://me:p@ss@[::1]:7000", "redis://[::1]:7000", {"host": "::1", "password": "p@ss"}),
        ("rediss://host?ssl_check_hostname=no", "rediss://host:6379",
         {"class": "SSLConnection", "ssl_check_hostname": False}),
        ("redis://host?decode_responses=yes", "redis://host:6379", {"decode_responses": False}),
        ("unix:///run/redis.sock?db=2", "unix:///run/redis.sock",
         {"class": "UnixDomainSocketConnection", "path": "/run/redis.sock", "db": 2}),
        ("unix://:secret@/run/redis.sock", "unix:///run/redis.sock", {"password": "secret"}),
        ("redis+cluster://:secret@a,b:7001", "redis+cluster://a:6379,b:7001",
         {"nodes": [("a", 6379), ("b", 7001)], "password": "secret"}),
        ("rediss+cluster://a", "rediss+cluster://a:6379", {"ssl_cert_reqs": "required"}),
        ("redis+sentinel://:s@a,b:7001/tables/1", "redis+sentinel://a:26379,b:7001/tables/1",
         {"class": "SentinelManagedConnection", "password": "s", "db": 1}),
        ("rediss+sentinel://a/tables", "rediss+sentinel://a:26379/tables",
         {"class": "SentinelManagedSSLConnection"}),
    ],
)  # fmt: skip
async def test_what_a_url_means(url: str, name: str, expected: dict[str, object]) -> None:
    connection = RedisConnection(url)
    assert connection.name == name
    found = connection_of(connection.client)
    assert {key: found[key] for key in expected} == expected
    await connection.aclose()


async def test_sentinels_have_credentials_of_their_own() -> None:
    url = "redis+sentinel://me:inner@a,b/tables?sentinel_username=s&sentinel_password=outer"
    connection = RedisConnection(url)
    client: Any = connection.client
    pool = client.connection_pool
    watchers = pool.sentinel_manager.sentinels
    asked = [w.connection_pool.connection_kwargs for w in watchers]
    assert [(o["host"], o["port"]) for o in asked] == [("a", 26379), ("b", 26379)]
    assert {(o["username"], o["password"], o["socket_timeout"]) for o in asked} == {
        ("s", "outer", 5.0)
    }
    assert pool.connection_kwargs["password"] == "inner"
    assert "sentinel_password" not in pool.connection_kwargs
    await connection.aclose()


@pytest.mark.parametrize(
    "url",
    [
        "redis://",
        "redis:///0",
        "redis://:secret",
        "redis://:secret@",
        "redis://:se/cret@host",
        "redis://:secret#1@host",
        "redis://:secret?@host",
        "redis://:secret@host:port",
        "redis://:secret@host:65536",
        "redis://:secret@host:6379:1",
        "redis://:secret@host/db",
        "redis://:secret@host/0/1",
        "redis://:secret@a,b",
        "redis://:secret@host?nonsense=1",
        "redis://:secret@host?socket_timeout=soon",
        "redis://:secret@host?secret",
        "redis+sentinel://:secret@host",
        "redis+sentinel://:secret@host/service/db",
        "redis+cluster://:secret@host/1",
        "redis+cluster://:secret@host?db=1",
        "redis+other://:secret@host",
        "unix://",
    ],
)
def test_another_url_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(StoreError, match=r"expected a form like redis://") as caught:
        RedisConnection(url)
    message = str(caught.value)
    assert "secret" not in message
    assert "se/" not in message
    assert "\n" not in message
    assert masked(message) == message, "the advice is read as it was written"
    assert "user:password@" in message


def test_a_certificate_that_is_not_there_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "ca.pem"
    with pytest.raises(StoreError, match=f"ssl_ca_certs: there is no file '{missing}'"):
        RedisConnection(f"rediss://host?ssl_ca_certs={missing}")
