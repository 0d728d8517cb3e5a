"""What every store of latency tables does, whichever it is."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import pytest

from gateway.stores import tables as tables_module
from gateway.stores.embedded_store import EmbeddedStore
from gateway.stores.redis_store import RedisStore
from gateway.stores.tables import DeviceClassInfo, StoredTable, TableStore
from supernet.latency import LatencyTable
from tests.redis_server import RedisServer

HASH = "a" * 32
TOLD_WITHIN_S = 1.0
fresh_hashes = (f"{i:032x}" for i in itertools.count())

Open = Callable[[], TableStore]


def table(name: str = "phone", ms: float = 1.0, artifact_hash: str = HASH) -> LatencyTable:
    return LatencyTable(
        device_class=name, artifact_hash=artifact_hash, source="made up", measured=False,
        latency_ms={"d2-2@16": ms},
    )  # fmt: skip


@pytest.fixture(params=["embedded", "redis"])
def open_store(request: pytest.FixtureRequest, tmp_path: Path, redis_server: RedisServer) -> Open:
    """Opens the same store again and again, as several processes would."""
    if request.param == "embedded":
        return lambda: EmbeddedStore(tmp_path / "tables.sqlite3")
    return lambda: RedisStore(redis_server.url)


def latency_ms(text: bytes) -> float:
    return LatencyTable.model_validate_json(text).latency_ms["d2-2@16"]


async def current_ms(store: TableStore, artifact_hash: str = HASH) -> dict[str, tuple[int, float]]:
    """Version and latency of each class that has a current table."""
    found = await store.current(artifact_hash, {})
    return {
        name: (now.version, latency_ms(now.document.text))
        for name, now in found.items()
        if now.document is not None
    }


@dataclass
class Model:
    """What a store is to do, in a few lines."""

    last: dict[str, int] = field(default_factory=dict)
    kept: dict[str, dict[int, float]] = field(default_factory=dict)
    now: dict[str, int] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)

    def put(self, name: str, ms: float) -> int:
        self.last[name] = self.now[name] = self.last.get(name, 0) + 1
        self.kept.setdefault(name, {})[self.last[name]] = ms
        return self.last[name]

    def may_roll_back(self, name: str, version: int) -> bool:
        return bool(self.kept.get(name)) and version in (0, *self.kept[name])

    def current_ms(self) -> dict[str, tuple[int, float]]:
        return {n: (v, self.kept[n][v]) for n, v in self.now.items() if v}


names = st.sampled_from(["phone", "watch"])
steps = st.lists(
    st.one_of(
        st.tuples(st.just("put"), names, st.integers(1, 9)),
        st.tuples(st.just("rollback"), names, st.integers(0, 4)),
        st.tuples(st.just("delete"), names, st.just(0)),
        st.tuples(st.just("prune"), names, st.integers(0, 4)),
        st.tuples(st.just("alias"), names, st.integers(0, 2)),
    ),
    max_size=12,
)


@hypothesis.settings(
    max_examples=25, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture]
)
@hypothesis.given(steps=steps)
async def test_a_store_does_what_its_model_does(
    open_store: Open, steps: list[tuple[str, str, int]]
) -> None:
    artifact_hash, model = next(fresh_hashes), Model()
    async with aclosing(open_store()) as writer, aclosing(open_store()) as reader:
        for step, name, number in steps:
            if step == "put":
                given = table(name, float(number), artifact_hash)
                assert await writer.put(given) == model.put(name, float(number))
            elif step == "delete":
                there_was_one = bool(model.kept.pop(name, None))
                assert await writer.delete(artifact_hash, name) == there_was_one
                model.now |= {name: 0} if there_was_one else {}
            elif step == "prune":
                await writer.prune(artifact_hash, name, [number, number + 1])
                for version in {number, number + 1} - {model.now.get(name)}:
                    model.kept.get(name, {}).pop(version, None)
            elif step == "alias":
                model.aliases[f"my-{name}"] = ("", "phone", "watch")[number]
                await writer.set_alias(artifact_hash, f"my-{name}", model.aliases[f"my-{name}"])
            elif model.may_roll_back(name, number):
                await writer.rollback(artifact_hash, name, number)
                model.now[name] = number
            else:
                with pytest.raises(ValueError, match=f"no version {number}: expected one of"):
                    await writer.rollback(artifact_hash, name, number)
            assert await current_ms(reader, artifact_hash) == model.current_ms()
            found = await reader.current(artifact_hash, {})
            assert {n: now.version for n, now in found.items()} == model.now
            assert await reader.versions(artifact_hash, name) == sorted(model.kept.get(name, {}))
            assert await reader.aliases(artifact_hash) == model.aliases


async def test_what_is_known_is_not_read_again(open_store: Open) -> None:
    async with aclosing(open_store()) as store:
        await store.put(table("phone"))
        await store.put(table("watch"))
        known = {name: now.stamp for name, now in (await store.current(HASH, {})).items()}
        again = await store.current(HASH, known)
        assert [(now.version, now.document) for now in again.values()] == 2 * [(1, None)]
        await store.put(table("watch", 2.0))
        documents = {n: now.document for n, now in (await store.current(HASH, known)).items()}
        assert documents["phone"] is None
        assert documents["watch"] is not None


async def test_any_version_can_be_read(open_store: Open) -> None:
    async with aclosing(open_store()) as store:
        for ms in (1.0, 2.0):
            await store.put(table(ms=ms))
        for version in (1, 2):
            document = await store.document(HASH, "phone", version)
            assert document is not None
            assert (document.version, document.size) == (version, len(document.text))
            assert latency_ms(document.text) == version
        assert await store.document(HASH, "phone", 3) is None
        assert await store.document(HASH, "watch", 1) is None


async def test_puts_at_once_from_several_clients_get_a_version_each(open_store: Open) -> None:
    stores = [open_store() for _ in range(4)]
    puts = (store.put(table(ms=1.0 + i)) for i in range(5) for store in stores)
    given = await asyncio.gather(*puts)
    assert sorted(given) == list(range(1, 21))
    assert (await current_ms(stores[0]))["phone"][0] == 20
    for store in stores:
        await store.aclose()


async def test_a_put_over_something_else_changes_nothing(open_store: Open) -> None:
    async def stamp() -> str:
        found = (await store.current(HASH, {})).get("phone")
        return found.stamp if found else ""

    async with aclosing(open_store()) as store, aclosing(open_store()) as other:
        assert await store.put_over(table(ms=1.0), "something") is None
        assert await store.current(HASH, {}) == {}
        assert await store.put_over(table(ms=1.0), await stamp()) == 1
        for change in (
            lambda: other.put(table(ms=2.0)),
            lambda: other.rollback(HASH, "phone", 1),
            lambda: other.rollback(HASH, "phone", 0),
            lambda: other.put(table(ms=2.0)),
            lambda: other.delete(HASH, "phone"),
        ):
            before = await stamp()
            await change()
            there_are = await store.versions(HASH, "phone")
            assert await store.put_over(table(ms=9.0), before) is None
            assert await store.versions(HASH, "phone") == there_are
        assert await store.put_over(table(ms=3.0), await stamp()) == 4
        assert await current_ms(other) == {"phone": (4, 3.0)}


async def test_of_puts_over_the_same_table_one_is_kept(open_store: Open) -> None:
    stores = [open_store() for _ in range(4)]
    await stores[0].put(table())
    stamp = (await stores[0].current(HASH, {}))["phone"].stamp
    given = await asyncio.gather(*(s.put_over(table(ms=2.0), stamp) for s in stores))
    assert sorted(given, key=bool) == [None, None, None, 2]
    for store in stores:
        await store.aclose()


async def test_evidence_is_shared_for_a_while(open_store: Open) -> None:
    async with aclosing(open_store()) as one, aclosing(open_store()) as other:
        assert await one.share_evidence(HASH, "phone", "one", b"a\nb", 60) == [b"a\nb"]
        assert await one.share_evidence(HASH, "watch", "one", b"c", 60) == [b"c"]
        assert sorted(await other.share_evidence(HASH, "phone", "two", b"d", 60)) == [b"a\nb", b"d"]
        assert sorted(await one.share_evidence(HASH, "phone", "one", b"e", 60)) == [b"d", b"e"]
        await asyncio.sleep(2.1)  # Redis keeps whole seconds
        assert await other.share_evidence(HASH, "phone", "two", b"f", 1) == [b"f"]
        assert await one.current(HASH, {}) == {}


async def test_who_follows_is_told_of_each_change(open_store: Open) -> None:
    writer, reader = open_store(), open_store()
    async with aclosing(writer), aclosing(reader), aclosing(reader.looks(HASH)) as looks:
        await anext(looks)
        for change, expected in (
            (lambda: writer.put(table(ms=1.0)), {"phone": (1, 1.0)}),
            (lambda: writer.put(table(ms=2.0)), {"phone": (2, 2.0)}),
            (lambda: writer.rollback(HASH, "phone", 1), {"phone": (1, 1.0)}),
            (lambda: writer.set_alias(HASH, "my-phone", "phone"), {"phone": (1, 1.0)}),
            (lambda: writer.delete(HASH, "phone"), {}),
        ):
            await change()
            async with asyncio.timeout(TOLD_WITHIN_S):
                await anext(looks)
            assert await current_ms(reader) == expected


async def test_a_table_too_large_to_be_read_again_is_not_kept(
    open_store: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables_module, "MAX_DOCUMENT_BYTES", 100)
    async with aclosing(open_store()) as store:
        with pytest.raises(ValueError, match=r"'phone': the table has \d+ bytes, expected at most"):
            await store.put(table())
        assert await store.current(HASH, {}) == {}


def test_a_class_in_short(tables: tuple[LatencyTable, LatencyTable]) -> None:
    _, beta = tables
    info = DeviceClassInfo.of(StoredTable(3, beta), 7, ("b",))
    assert (info.name, info.version, info.subnets, info.measured) == ("beta", 3, 18, False)
    assert info.source == "not measured: alpha times 4"
    assert info.default_budget_ms == beta.default_budget_ms
    assert info.created == beta.created
    assert (info.kind, info.created_by, info.frontier, info.aliases) == ("derived", None, 7, ("b",))
