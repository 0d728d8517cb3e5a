"""A real server's own ways: keys, rights, passwords, TLS, Sentinel, Cluster, and being away."""

from __future__ import annotations

import asyncio
import hashlib
import json
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import aclosing
from pathlib import Path

import pytest
import trustme

from gateway.stores import redis_store
from gateway.stores.redis_store import RedisStore
from gateway.stores.tables import StoreError, StoreUnavailableError, TableDocument, TableStore
from supernet.latency import LatencyTable
from tests.redis_server import RedisServer, cluster, free_port, running, sentinel, tls_in_front

HASH = "a" * 32
KEY = f"compofa:{{{HASH}}}"


def table(ms: float = 1.0, name: str = "phone") -> LatencyTable:
    return LatencyTable(
        device_class=name, artifact_hash=HASH, source="made up", measured=False,
        latency_ms={"d2-2@16": ms},
    )  # fmt: skip


async def works(store: TableStore) -> None:
    """Everything a store does, once."""
    async with aclosing(store.looks(HASH)) as looks:
        await anext(looks)
        first = await store.put(table(1.0))
        async with asyncio.timeout(2):
            await anext(looks)
        await store.put(table(2.0, "watch"))
        assert await store.put(table(3.0)) == first + 1
        found = await store.current(HASH, {})
        assert found.keys() == {"phone", "watch"}
        document = found["phone"].document
        assert document is not None
        assert LatencyTable.model_validate_json(document.text).latency_ms["d2-2@16"] == 3.0
        await store.rollback(HASH, "phone", first)
        assert (await store.current(HASH, {}))["phone"].version == first
        assert await store.versions(HASH, "phone") == [first, first + 1]
        assert await store.delete(HASH, "watch")
        stamp = (await store.current(HASH, {}))["phone"].stamp
        assert await store.put_over(table(4.0), stamp) == first + 2
        await store.prune(HASH, "phone", [first, first + 2])
        assert await store.versions(HASH, "phone") == [first + 1, first + 2]
        await store.set_alias(HASH, "pixel", "phone")
        assert await store.aliases(HASH) == {"pixel": "phone"}
        assert await store.share_evidence(HASH, "phone", "me", b"x", 60) == [b"x"]


async def error_of(url: str) -> StoreError:
    """What a store that cannot be used says, soon and in one line without a password."""
    started = time.monotonic()
    with pytest.raises(StoreError) as caught:
        async with aclosing(RedisStore(url)) as store:
            await store.current(HASH, {})
    assert time.monotonic() - started < 5
    message = str(caught.value)
    assert "secret" not in message
    assert "\n" not in message
    assert message.startswith("table store redis")
    return caught.value


async def test_keys_and_values_are_as_documented(redis_server: RedisServer) -> None:
    async with aclosing(RedisStore(redis_server.url)) as store:
        await store.put(table(1.0))
        await store.put(table(2.0))
        await store.rollback(HASH, "phone", 1)
        await store.set_alias(HASH, "pixel", "phone")
        await store.share_evidence(HASH, "phone", "me", b"x", 60)
    ask = redis_server.ask
    assert set(ask("KEYS", "*")) == {
        f"{KEY}:{of}".encode()
        for of in ("current", "versions", "table:phone", "aliases", "evidence:phone")
    }
    assert ask("HGETALL", f"{KEY}:aliases") == {b"pixel": b"phone"}
    assert ask("HGET", f"{KEY}:evidence:phone", "me").split()[1] == b"x"
    assert 0 < ask("TTL", f"{KEY}:evidence:phone") <= 60
    text = ask("HGET", f"{KEY}:table:phone", 1)
    assert json.loads(text) == json.loads(table(1.0).model_dump_json()) | {
        "created": json.loads(text)["created"]
    }
    sha256 = hashlib.sha256(text).hexdigest()
    assert ask("HGET", f"{KEY}:table:phone", "1.sha256") == sha256.encode()
    assert ask("HGET", f"{KEY}:current", "phone") == f"1 {sha256}".encode()
    assert ask("HGET", f"{KEY}:versions", "phone") == b"2"


async def test_numbers_that_an_eviction_lost_are_not_given_twice(
    redis_server: RedisServer,
) -> None:
    async with aclosing(RedisStore(redis_server.url)) as store:
        for ms in (1.0, 2.0, 3.0):
            await store.put(table(ms))
        before = redis_server.ask("HGETALL", f"{KEY}:table:phone")
        redis_server.ask("DEL", f"{KEY}:versions")
        assert await store.put(table(4.0)) == 4
        assert before.items() <= redis_server.ask("HGETALL", f"{KEY}:table:phone").items()


async def test_what_is_too_large_is_not_fetched(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with aclosing(RedisStore(redis_server.url)) as store:
        await store.put(table())
        monkeypatch.setattr(redis_store, "MAX_DOCUMENT_BYTES", 100)
        document = (await store.current(HASH, {}))["phone"].document
        assert document is not None
        assert (document.text, document.size > 100) == (b"", True)


class Overtaken(RedisStore):
    """A reader that another process overtakes between its two steps, a few times."""

    times = 2

    async def _documents(
        self, artifact_hash: str, versions: Mapping[str, int]
    ) -> dict[str, TableDocument]:
        if self.times:
            self.times -= 1
            await self.delete(artifact_hash, "phone")
            await self.put(table(9.0))
        return await super()._documents(artifact_hash, versions)


async def test_a_reader_that_is_overtaken_reads_again(redis_server: RedisServer) -> None:
    async with aclosing(Overtaken(redis_server.url)) as store:
        await store.put(table(1.0))
        found = (await store.current(HASH, {}))["phone"]
        assert found.version == 3
        assert found.document is not None
        assert hashlib.sha256(found.document.text).hexdigest() == found.document.sha256


async def test_keys_of_another_kind_are_an_error_not_a_crash(redis_server: RedisServer) -> None:
    redis_server.ask("SET", f"{KEY}:current", "mine")
    assert "WRONGTYPE" in str(await error_of(redis_server.url))


READS = ("~compofa:*", "&compofa:*", "+hgetall", "+hstrlen", "+hmget", "+hkeys", "+subscribe",
         "+ping")  # fmt: skip
WRITES = ("+eval", "+publish", "+hget", "+hexists", "+exists", "+hset", "+hsetnx", "+hincrby",
          "+del")  # fmt: skip
LEARNS = ("+hdel", "+time", "+expire")


async def test_a_gateway_that_learns_needs_to_write_and_to_tell(redis_server: RedisServer) -> None:
    """The rights here and below are those that docs/latency-tables.md names."""
    rights = (*READS, *WRITES, *LEARNS)
    redis_server.ask("ACL", "SETUSER", "learner", "reset", "on", ">secret", *rights)
    async with aclosing(RedisStore(redis_server.url.replace("//", "//learner:secret@"))) as store:
        await works(store)


async def test_who_imports_needs_less(redis_server: RedisServer) -> None:
    redis_server.ask("ACL", "SETUSER", "writer", "reset", "on", ">secret", *READS, *WRITES)
    async with aclosing(RedisStore(redis_server.url.replace("//", "//writer:secret@"))) as store:
        for ms in (1.0, 2.0):
            await store.put(table(ms))
        await store.rollback(HASH, "phone", 1)
        await store.set_alias(HASH, "pixel", "phone")
        assert await store.delete(HASH, "phone")


async def test_a_gateway_needs_only_to_read(redis_server: RedisServer) -> None:
    redis_server.ask("ACL", "SETUSER", "gateway", "reset", "on", ">secret", *READS)
    url = redis_server.url.replace("//", "//gateway:secret@")
    async with aclosing(RedisStore(redis_server.url)) as writer:
        await writer.put(table())
    async with aclosing(RedisStore(url)) as store, aclosing(store.looks(HASH)) as looks:
        await anext(looks)
        assert (await store.current(HASH, {}))["phone"].document is not None
        assert await store.versions(HASH, "phone") == [1]
        assert await store.aliases(HASH) == {}
        for change in (store.put(table()), store.rollback(HASH, "phone", 1)):
            with pytest.raises(StoreError, match=r"table store redis://127.*permission"):
                await change
    assert redis_server.ask("HGET", f"{KEY}:versions", "phone") == b"1"


async def test_who_may_not_tell_may_not_change(redis_server: RedisServer) -> None:
    """Else a table would be there that no gateway learns of."""
    rights = ("~compofa:*", "resetchannels", "+@all")
    redis_server.ask("ACL", "SETUSER", "mute", "reset", "on", ">secret", *rights)
    url = redis_server.url.replace("//", "//mute:secret@")
    async with aclosing(RedisStore(url)) as store:
        with pytest.raises(StoreError, match="channel"):
            await store.put(table())
    assert redis_server.ask("KEYS", "*") == []


async def test_a_wrong_password_will_not_become_right(redis_server: RedisServer) -> None:
    redis_server.ask("ACL", "SETUSER", "gateway", "reset", "on", ">right", "~*", "&*", "+@all")
    error = await error_of(redis_server.url.replace("//", "//gateway:secret@"))
    assert "invalid username-password pair" in str(error)
    assert not isinstance(error, StoreUnavailableError)


async def test_a_server_that_is_away_may_come_back() -> None:
    port = free_port()
    for url in (
        f"redis://:secret@127.0.0.1:{port}",
        f"rediss://:secret@127.0.0.1:{port}",
        f"redis+sentinel://:secret@127.0.0.1:{port},127.0.0.1:{port}/tables",
        f"redis+cluster://:secret@127.0.0.1:{port}",
        "redis://:secret@no.such.host.invalid",
    ):
        assert isinstance(await error_of(url), StoreUnavailableError)


async def test_a_server_that_says_nothing_is_not_waited_for(redis_server: RedisServer) -> None:
    url = f"{redis_server.url}?socket_timeout=0.2&socket_connect_timeout=0.2"
    with redis_server.frozen():
        assert isinstance(await error_of(url), StoreUnavailableError)


@pytest.fixture
def authority(tmp_path: Path) -> tuple[Path, trustme.CA]:
    """A certificate authority of our own, and its file."""
    made = trustme.CA()
    path = tmp_path / "ca.pem"
    made.cert_pem.write_to_path(path)
    return path, made


def context_of(authority: trustme.CA, name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


async def test_tls(redis_server: RedisServer, authority: tuple[Path, trustme.CA]) -> None:
    path, made = authority
    redis_server.ask("ACL", "SETUSER", "me", "reset", "on", ">secret", "~*", "&*", "+@all")
    async with tls_in_front(redis_server, context_of(made, "localhost")) as port:
        url = f"rediss://me:secret@localhost:{port}?ssl_ca_certs={path}"
        async with aclosing(RedisStore(url)) as store:
            await works(store)
        plain = await error_of(f"redis://me:secret@localhost:{port}")
        assert isinstance(plain, StoreUnavailableError)


async def test_a_certificate_is_checked(
    redis_server: RedisServer, authority: tuple[Path, trustme.CA]
) -> None:
    path, made = authority
    async with tls_in_front(redis_server, context_of(made, "another.host")) as port:
        for options in (f"ssl_ca_certs={path}", ""):  # of another host; of nobody we know
            error = await error_of(f"rediss://:secret@localhost:{port}?{options}".rstrip("?"))
            assert "certificate verify failed" in str(error).lower()
            assert not isinstance(error, StoreUnavailableError)


async def test_tls_to_a_server_without_it_ends_soon(redis_server: RedisServer) -> None:
    url = redis_server.url.replace("redis://", "rediss://:secret@")
    await error_of(f"{url}?socket_connect_timeout=0.3")


@pytest.fixture
def in_cluster(tmp_path: Path) -> Iterator[str]:
    with cluster(tmp_path) as url:
        yield url


async def test_a_cluster(in_cluster: str) -> None:
    async with aclosing(RedisStore(in_cluster)) as store:
        await works(store)


async def test_sentinel_says_where_the_primary_is(tmp_path: Path) -> None:
    with sentinel(tmp_path) as (url, _, _):
        async with aclosing(RedisStore(url)) as store:
            await works(store)


@pytest.mark.slow
async def test_sentinel_s_primary_is_followed_through_a_failover(tmp_path: Path) -> None:
    with sentinel(tmp_path) as (url, primary, replica):
        async with aclosing(RedisStore(url)) as store:
            await works(store)
            before = await store.current(HASH, {})
            primary.kill()
            async with asyncio.timeout(20):
                while replica.info()["role"] != "master":
                    await asyncio.sleep(0.1)
            with pytest.raises(StoreUnavailableError):  # once: it finds out
                await store.current(HASH, {})
        async with asyncio.timeout(10):
            while True:
                async with aclosing(RedisStore(url)) as store:
                    try:
                        found = await store.current(HASH, {})
                        break
                    except StoreUnavailableError:
                        await asyncio.sleep(0.1)
        assert found == before


async def test_sentinel_without_the_service(tmp_path: Path) -> None:
    with running(RedisServer(tmp_path, sentinel=True)) as watcher:
        error = await error_of(f"redis+sentinel://:secret@127.0.0.1:{watcher.port}/tables")
        assert "No master found for 'tables'" in str(error)
