"""Batches in a thread of their own: the loop goes on, and a batch under way ends."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gateway.engines.backend import ModelInputs
from gateway.engines.engine import Lane, Ran
from gateway.engines.net import Net
from gateway.engines.opening import make_engine
from gateway.engines.torch_backend import TorchBackend
from gateway.workers.executor import Executor
from gateway.workers.preparers import Preparers
from gateway.workers.thread_worker import ThreadWorker
from supernet.architecture import Architecture
from supernet.manifest import Manifest
from tests.gateway.workers.batches import batch, tensor


@dataclass
class GatedLane:
    """The real one, behind a gate; notes which threads run."""

    lane: Lane
    gate: threading.Event = field(default_factory=threading.Event)
    entered: threading.Event = field(default_factory=threading.Event)
    threads: list[int] = field(default_factory=list)

    def run(self, arch: Architecture, x: ModelInputs) -> Ran:
        self.threads.append(threading.get_ident())
        self.entered.set()
        assert self.gate.wait(30)
        return self.lane.run(arch, x.copy())  # torch warns of what it could not write to


@pytest.fixture
def lane(artifact_folder: Path) -> GatedLane:
    engine = make_engine(Net(artifact_folder), TorchBackend(), max_whole_bytes=10**6)
    return GatedLane(engine.lane())


@pytest.fixture
def worker(lane: GatedLane, manifest: Manifest) -> Iterator[ThreadWorker]:
    preparers = Preparers(1)
    made = ThreadWorker(Executor(lane, manifest, preparers))
    yield made
    lane.gate.set()
    made.close()
    preparers.close()


async def test_the_loop_goes_on_while_a_batch_runs(worker: ThreadWorker, lane: GatedLane) -> None:
    running = asyncio.create_task(worker.run(batch(tensor())))
    assert await asyncio.to_thread(lane.entered.wait, 30)
    assert not running.done()
    lane.gate.set()
    outcome = await asyncio.wait_for(running, 10)
    assert [run.places for run in outcome.runs] == [(0,)]


async def test_all_batches_run_in_one_thread_of_its_own(
    worker: ThreadWorker, lane: GatedLane
) -> None:
    lane.gate.set()
    for _ in range(3):
        await worker.run(batch(tensor()))
    assert len(lane.threads) == 3
    assert len({*lane.threads, threading.get_ident()}) == 2


async def test_its_end_waits_for_the_batch_under_way(worker: ThreadWorker, lane: GatedLane) -> None:
    running = asyncio.create_task(worker.run(batch(tensor())))
    assert await asyncio.to_thread(lane.entered.wait, 30)
    closing = asyncio.create_task(asyncio.to_thread(worker.close))
    await asyncio.sleep(0.05)
    assert not closing.done()
    lane.gate.set()
    await asyncio.wait_for(closing, 10)
    assert (await asyncio.wait_for(running, 1)).errors == {}
