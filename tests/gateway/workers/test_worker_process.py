"""A process that runs batches, and how its end is told: at its start, between batches, on one."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from gateway.config import ServerConfig
from gateway.engines.costs import Costs
from gateway.engines.net import Net
from gateway.workers.messages import Setup
from gateway.workers.worker_process import WorkerLostError, WorkerProcess
from supernet.architecture import Architecture
from tests.gateway.workers import children
from tests.gateway.workers.batches import LARGEST, SUBNET, batch, tensor

ARCH = Architecture.parse(LARGEST)


@pytest.fixture
def start(config: ServerConfig) -> Iterator[Callable[[], WorkerProcess]]:
    setup = Setup(config=config, manifest=Net(config.artifact).manifest, log_level="warning")
    with ExitStack() as opened:
        yield lambda: opened.enter_context(closing(WorkerProcess(setup)))


async def test_it_says_what_it_has_opened_and_has_whole_what_is_in_the_cache(
    start: Callable[[], WorkerProcess],
) -> None:
    process = start()
    opened = process.opened()
    assert (opened.engine, opened.loaded) == ("onnxruntime", False)
    assert (opened.config.threads, opened.config.workers) == (1, 1)
    space = Net(opened.config.artifact).manifest.design_space
    assert Costs.from_json(space, opened.costs.encode()).of(SUBNET).ms(1) > 0
    assert process.have(ARCH, whole=True)
    assert not process.have(Architecture.parse("d3-3@16"), whole=True), "expected no compilation"
    for _ in range(2):
        assert process.have(ARCH, whole=False)
    with children.watched(process.pid) as ended:
        process.close()
        assert ended(process.pid)


def test_one_that_ends_as_it_starts_is_said(start: Callable[[], WorkerProcess]) -> None:
    process = start()
    os.kill(process.pid, signal.SIGKILL)
    with pytest.raises(ValueError, match=r"^engine: its process ended with status -9$"):
        process.opened()


async def test_one_that_ended_between_batches_was_handed_none(
    start: Callable[[], WorkerProcess],
) -> None:
    process = start()
    process.opened()
    assert (await process.run(batch(tensor()))).errors == {}
    children.kill(process.pid)
    with pytest.raises(WorkerLostError, match="ended with status -9") as lost:
        await process.run(batch(tensor()))
    assert not lost.value.ran
    assert process.have(ARCH, whole=True), "nobody waits for one that is gone"


async def test_one_that_ended_on_a_batch_was_handed_it(
    start: Callable[[], WorkerProcess],
) -> None:
    process = start()
    process.opened()
    children.stop(process.pid)
    running = asyncio.create_task(process.run(batch(tensor())))
    await asyncio.sleep(0)
    os.kill(process.pid, signal.SIGKILL)
    with pytest.raises(WorkerLostError, match="ended with status -9") as lost:
        await asyncio.wait_for(running, 10)
    assert lost.value.ran


async def test_one_that_hangs_on_a_batch_is_killed(start: Callable[[], WorkerProcess]) -> None:
    process = start()
    process.opened()
    children.stop(process.pid)
    with children.watched(process.pid) as ended:
        with pytest.raises(WorkerLostError, match=r"hung for 0\.2 s and was killed$") as lost:
            await process.run(batch(tensor()), most_s=0.2)
        assert lost.value.ran
        assert ended(process.pid)
