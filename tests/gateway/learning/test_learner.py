"""Gateways that learn, on a real store: alone, together, again, and with nothing to learn from."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import aclosing
from statistics import median
from typing import Any

import pytest

from gateway.config import LearningConfig
from gateway.learning.learner import Learner
from gateway.learning.report_book import ReportBook
from gateway.learning.reports import Report
from gateway.stores.redis_store import RedisStore
from gateway.stores.table_follower import TableFollower
from gateway.stores.tables import StoredTable
from supernet.latency import LatencyTable
from supernet.manifest import Manifest
from tests.gateway.following import follower_of
from tests.redis_server import RedisServer, free_port

CLIENTS = "abcdefgh"


class Gateway:
    """A follower, a report book and a learner, each look taken by hand."""

    def __init__(
        self,
        manifest: Manifest,
        alpha: LatencyTable,
        url: str,
        now: Callable[[], float],
        **config: object,
    ) -> None:
        self.follower: TableFollower = follower_of(manifest, alpha, lambda: RedisStore(url))
        given = LearningConfig.model_validate(
            {"min_reports": 2, "interval_s": 60.0, "window_s": 1e6} | config
        )
        classes = self.follower.classes
        self.book = ReportBook(classes, manifest.artifact_hash, given, now)
        self.published: list[str] = []
        self.learner = Learner(
            classes, manifest, self.book, given, lambda: RedisStore(url),
            published=self.published.append, clock=now,
        )  # fmt: skip
        self._first = alpha

    @property
    def table(self) -> StoredTable:
        return self.follower.classes.table("alpha")

    @property
    def moved(self) -> float:
        """By which factor the table has moved from the one it began with: all of it alike."""
        now = self.table.table.latency_ms
        factors = [now[s] / ms for s, ms in self._first.latency_ms.items()]
        assert max(factors) <= min(factors) * 1.03  # a sketch is right to 1 %
        return median(factors)

    def report(self, factor: float, clients: str = CLIENTS, times: int = 2) -> None:
        """These clients report every subnet to take `factor` times what the first table says."""
        for client in clients:
            for subnet, ms in self._first.latency_ms.items():
                for _ in range(times):
                    self.book.take(Report("alpha", subnet, ms * factor, client))

    async def look(self) -> None:
        await self.follower.read()
        await self.learner.look()
        await self.follower.read()


class Fleet:
    """Gateways on one server, and the time they all have."""

    def __init__(self, manifest: Manifest, alpha: LatencyTable, server: RedisServer) -> None:
        self._manifest, self._alpha, self._server = manifest, alpha, server
        self.now = 1000.0

    def gateway(self, **config: object) -> Gateway:
        return Gateway(self._manifest, self._alpha, self._server.url, lambda: self.now, **config)

    async def looks(self, gateways: list[Gateway], count: int) -> None:
        """Each gateway looks `count` times, an interval apart."""
        for _ in range(count):
            for gateway in gateways:
                await gateway.look()
            self.now += 61.0


@pytest.fixture
def fleet(manifest: Manifest, alpha: LatencyTable, redis_server: RedisServer) -> Fleet:
    return Fleet(manifest, alpha, redis_server)


async def test_a_drift_is_followed_up_and_down_again(fleet: Fleet) -> None:
    gateway = fleet.gateway(window_s=1000.0)
    gateway.report(1.5)
    await gateway.look()
    assert gateway.table.version == 1
    assert gateway.moved == pytest.approx(1.25)
    assert gateway.learner.drift["alpha"] == pytest.approx(1.5, rel=0.02)
    await fleet.looks([gateway], 4)
    assert gateway.table.version == 2, "once there it stays"
    assert gateway.moved == pytest.approx(1.5, rel=0.02)
    assert gateway.published == ["alpha", "alpha"]
    fleet.now += 2000.0
    gateway.report(1.0)
    await fleet.looks([gateway], 4)
    assert gateway.moved == pytest.approx(1.0, rel=0.02)
    assert gateway.learner.drift["alpha"] == pytest.approx(1.0, rel=0.02)


async def test_a_version_has_its_interval(fleet: Fleet) -> None:
    gateway = fleet.gateway()
    gateway.report(3.0)
    for seconds, version in ((0, 1), (1, 1), (58, 1), (2, 2), (59, 2), (2, 3)):
        fleet.now += seconds
        await gateway.look()
        assert gateway.table.version == version


async def test_too_few_clients_or_reports_change_nothing(fleet: Fleet) -> None:
    gateway = fleet.gateway()
    gateway.report(3.0, clients="abcd", times=50)
    gateway.report(3.0, clients="efgh", times=1)
    await fleet.looks([gateway], 3)
    assert (gateway.table.version, gateway.published, gateway.learner.drift) == (0, [], {})


async def test_one_liar_among_honest_clients_changes_nothing(fleet: Fleet) -> None:
    gateway = fleet.gateway()
    gateway.report(1.0, clients="abcd")
    for lie in (29.0, 0.04, 5.0):
        gateway.report(lie, clients="e", times=100)
        await fleet.looks([gateway], 3)
    assert gateway.table.version == 0


async def test_gateways_of_one_store_pool_what_they_know(fleet: Fleet) -> None:
    """None of them has enough clients for itself; a client of all of them has one say."""
    one, other = fleet.gateway(), fleet.gateway()
    one.report(1.2, clients="abc")
    other.report(1.2, clients="abc")
    await fleet.looks([one, other], 3)
    assert one.table.version == 0
    other.report(1.2, clients="de")
    await fleet.looks([other, one], 3)
    assert one.table.version == other.table.version == 1
    assert one.moved == other.moved == pytest.approx(1.2, rel=0.02)
    assert "of 5 clients" in one.table.table.source
    assert sorted([len(one.published), len(other.published)]) == [0, 1]


async def test_gateways_do_not_compound_each_other_s_moves(fleet: Fleet) -> None:
    gateways = [fleet.gateway(max_total=1.4) for _ in range(3)]
    for gateway in gateways:
        gateway.report(2.0)
    for gateway in gateways:
        await gateway.look()
        assert gateway.table.version == 1, "one step an interval, however many they are"
        assert gateway.moved == pytest.approx(1.25)
    fleet.now += 61.0
    await fleet.looks(gateways, 4)
    assert {gateway.table.version for gateway in gateways} == {2}
    assert gateways[0].moved == pytest.approx(1.4)
    assert gateways[0].table.table.conditions["base_version"] == "0"


async def test_gateways_that_see_different_clients_do_not_fight(fleet: Fleet) -> None:
    slow, fast = fleet.gateway(), fleet.gateway()
    slow.report(1.2, clients="abcdef")
    fast.report(0.9, clients="ghijk")
    await fleet.looks([slow, fast], 8)
    assert slow.table.version <= 2
    assert slow.moved == pytest.approx(1.2, rel=0.02), "what most of all clients say"


async def test_a_gateway_that_starts_again_goes_on_from_what_was_published(fleet: Fleet) -> None:
    first = fleet.gateway(max_total=1.4)
    first.report(2.0)
    await first.look()
    again = fleet.gateway(max_total=1.4)
    await again.follower.read()
    assert again.table.version == 1
    assert again.moved == pytest.approx(1.25)
    again.report(2.0)
    await fleet.looks([again], 5)
    assert again.table.version == 2
    assert again.moved == pytest.approx(1.4)


async def test_what_someone_imports_or_rolls_back_is_theirs(
    fleet: Fleet, alpha: LatencyTable, store: RedisStore, caplog: Any
) -> None:
    gateway = fleet.gateway()
    gateway.report(1.2)
    await gateway.look()
    assert gateway.table.version == 1
    await store.rollback(alpha.artifact_hash, "alpha", 0)
    await fleet.looks([gateway], 3)
    assert gateway.table.version == 0
    assert sum("is not learned" in r.getMessage() for r in caplog.records) == 1

    imported = await store.put(alpha.scaled(1.0, "alpha", default_budget_ms=1e6))
    await fleet.looks([gateway], 2)
    assert gateway.table.version == imported, "what was reported before is not held against it"
    gateway.report(1.2)
    await fleet.looks([gateway], 2)
    assert gateway.table.version == imported + 1
    assert gateway.table.table.conditions["base_version"] == str(imported)


async def test_old_learned_versions_go(
    fleet: Fleet, alpha: LatencyTable, store: RedisStore
) -> None:
    gateway = fleet.gateway(keep_versions=2, window_s=100.0)
    imported = await store.put(alpha)
    await gateway.follower.read()
    for i in range(4):
        gateway.report(1.1 if i % 2 == 0 else 1.0)
        await fleet.looks([gateway], 1)
        fleet.now += 200.0
    assert gateway.table.version == 5
    assert await store.versions(alpha.artifact_hash, "alpha") == [imported, 4, 5]


async def test_evidence_of_a_gateway_that_has_gone_is_forgotten(
    fleet: Fleet, redis_server: RedisServer, key: str
) -> None:
    gateway = fleet.gateway(interval_s=0.5)
    gateway.report(1.0)
    await gateway.look()
    evidence = f"{key}:evidence:alpha"
    assert redis_server.ask("HLEN", evidence) == 1
    assert 0 < redis_server.ask("TTL", evidence) <= 1
    shared = redis_server.ask("HGETALL", evidence)
    assert b"10.0.0" not in b"".join(shared)


async def test_a_store_that_is_away_is_said_once(
    manifest: Manifest, alpha: LatencyTable, caplog: Any
) -> None:
    url = f"redis://127.0.0.1:{free_port()}"
    gateway = Gateway(manifest, alpha, url, lambda: 0.0, interval_s=0.1)
    gateway.report(2.0)
    caplog.set_level(logging.WARNING)
    task = asyncio.create_task(gateway.learner.run())
    await asyncio.sleep(0.4)
    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    (line,) = [r.getMessage() for r in caplog.records]
    assert line.startswith("latency tables are not learned: table store redis://127.0.0.1:")


async def test_a_mistake_of_ours_does_not_end_the_learning(fleet: Fleet, caplog: Any) -> None:
    gateway = fleet.gateway(interval_s=0.1)
    gateway.report(1.2)
    look, begun, looked = gateway.learner.look, asyncio.Event(), asyncio.Event()

    async def sometimes() -> None:
        if not begun.is_set():
            begun.set()
            raise ZeroDivisionError
        await look()
        looked.set()

    gateway.learner.look = sometimes  # type: ignore[method-assign]
    task = asyncio.create_task(gateway.learner.run())
    async with asyncio.timeout(5):
        await looked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert gateway.published == ["alpha"]
    assert sum(r.exc_info is not None for r in caplog.records) == 1


async def test_nothing_is_asked_where_nothing_was_reported(
    fleet: Fleet, redis_server: RedisServer
) -> None:
    gateway = fleet.gateway()
    async with aclosing(RedisStore(redis_server.url)):
        before = redis_server.calls()
        await gateway.learner.look()
        after = redis_server.calls()
    assert {c for c in after if after[c] != before.get(c)} <= {"info", "client|setinfo", "hello"}


async def test_damaged_evidence_of_one_class_does_not_stop_the_others(
    fleet: Fleet, redis_server: RedisServer, key: str, alpha: LatencyTable,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    async with aclosing(RedisStore(redis_server.url)) as store:
        await store.put(alpha.model_copy(update={"device_class": "zeta"}))
    gateway = fleet.gateway()
    await gateway.follower.read()
    gateway.report(1.5)
    for client in CLIENTS:
        for subnet, ms in alpha.latency_ms.items():
            for _ in range(2):
                gateway.book.take(Report("zeta", subnet, ms * 1.5, client))
    redis_server.ask("SET", f"{key}:evidence:alpha", "no hash")
    await fleet.looks([gateway], 2)
    assert gateway.learner.drift.keys() == {"zeta"}
    assert "zeta" in gateway.published
    (line,) = [r.getMessage() for r in caplog.records if "not learned" in r.getMessage()]
    assert line.startswith("device class 'alpha': its latency table is not learned: table store")
    redis_server.ask("DEL", f"{key}:evidence:alpha")
    await fleet.looks([gateway], 1)
    assert "alpha" in gateway.learner.drift
