"""A follower of a store, beside the test, and tables to follow."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from gateway.device_classes import DeviceClasses
from gateway.stores.table_follower import TableFollower
from gateway.stores.tables import TableStore
from supernet.latency import LatencyTable
from supernet.manifest import Manifest

PUSHED_WITHIN_S = 1.0
BACK_WITHIN_S = 2.0


def phone(alpha: LatencyTable, factor: float) -> LatencyTable:
    return alpha.scaled(factor, "phone", default_budget_ms=1e6)


def follower_of(
    manifest: Manifest, alpha: LatencyTable, open_store: Callable[[], TableStore]
) -> TableFollower:
    return TableFollower(DeviceClasses(manifest, [alpha]), manifest, open_store)


@asynccontextmanager
async def following(follower: TableFollower, up: bool = True) -> AsyncIterator[TableFollower]:
    """A follower that runs, and has looked once where it is to be `up`."""
    task = asyncio.create_task(follower.run())
    await until(lambda: follower.up or not up, 5)
    yield follower
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def until(condition: Callable[[], object], within_s: float) -> None:
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.005)


def versions(follower: TableFollower) -> dict[str, int]:
    return {info.name: info.version for info in follower.classes.infos()}
