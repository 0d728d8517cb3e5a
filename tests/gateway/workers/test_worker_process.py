"""A process that runs batches, and how its end is told: at its start, between batches, on one."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from gateway.config import ServerConfig
from gateway.engines.costs import Costs
from gateway.engines.net import Net
from gateway.workers import worker_process
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


def test_one_that_is_not_ready_in_time_is_killed_and_said(
    start: Callable[[], WorkerProcess],
) -> None:
    process = start()
    children.stop(process.pid)
    with children.watched(process.pid) as ended:
        with pytest.raises(ValueError, match=r"^engine: its process was not ready within 0\.2 s$"):
            process.opened(0.2)
        assert ended(process.pid)


def test_one_that_hangs_as_it_is_told_what_to_have_whole_is_killed(
    start: Callable[[], WorkerProcess], monkeypatch: pytest.MonkeyPatch
) -> None:
    process = start()
    process.opened()
    children.stop(process.pid)
    monkeypatch.setattr(worker_process, "_LOAD_S", 0.2)
    with children.watched(process.pid) as ended:
        assert process.have(ARCH, whole=True), "nobody waits for it"
        assert ended(process.pid)


def test_who_waits_for_one_that_hangs_is_let_go_with_it(
    start: Callable[[], WorkerProcess],
) -> None:
    process = start()
    process.opened()
    children.stop(process.pid)
    waiting = threading.Thread(target=process.have, args=(ARCH,), kwargs={"whole": True})
    waiting.start()
    process.close(within_s=0.2)
    waiting.join(5)
    assert not waiting.is_alive()


def test_one_that_is_still_starting_ends_with_its_gateway(
    start: Callable[[], WorkerProcess],
) -> None:
    process = start()
    with children.watched(process.pid) as ended:
        process.let_go()
        assert ended(process.pid)


async def test_what_is_whole_is_for_the_gateway_to_decide(
    told_apart: ServerConfig,
) -> None:
    """However little room the configuration has, and however little it is used."""
    config = told_apart.model_copy(update={"max_resident_bytes": 1})
    setup = Setup(config=config, manifest=Net(config.artifact).manifest, log_level="warning")
    with closing(WorkerProcess(setup)) as process:
        process.opened()
        chained = (await process.run(batch(tensor(), subnet=LARGEST))).runs[0].logits
        for subnet in (LARGEST, SUBNET):
            assert process.have(Architecture.parse(subnet), whole=True)
        whole = (await process.run(batch(tensor(), subnet=LARGEST))).runs[0].logits
        assert not np.allclose(chained, whole, atol=0.1)


def test_one_that_cannot_be_started_leaves_nothing_open(
    config: ServerConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    setup = Setup(config=config, manifest=Net(config.artifact).manifest, log_level="warning")
    monkeypatch.setattr(subprocess, "Popen", fails)
    open_before = {*Path("/proc/self/fd").iterdir()}
    with pytest.raises(OSError, match="temporarily"):
        WorkerProcess(setup)
    assert {*Path("/proc/self/fd").iterdir()} == open_before
