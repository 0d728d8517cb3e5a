from __future__ import annotations

import asyncio
import io
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from gateway import images
from gateway.config import ServerConfig
from gateway.device_classes import DeviceClasses
from gateway.engines.backend import ModelInputs
from gateway.engines.costs import Line
from gateway.engines.engine import Lane, Ran
from gateway.engines.net import Net
from gateway.engines.opening import make_engine
from gateway.engines.torch_backend import TorchBackend
from gateway.errors import (
    DeadlineExceeded,
    GatewayError,
    InvalidRequest,
    NoSubnet,
    QueueFull,
    UnknownDeviceClass,
)
from gateway.opening import open_pipeline
from gateway.pipeline import Pipeline
from gateway.request import Answer, Constraints, ImageInput, ModelInput, TensorInput
from gateway.stores.table_file import TableFile
from gateway.workers.executor import Executor
from gateway.workers.preparers import Preparers
from gateway.workers.thread_worker import ThreadWorker
from supernet.architecture import Architecture
from supernet.complexity import complexity
from supernet.design_space import DesignSpace
from supernet.extract import extract
from supernet.latency import LatencyTable, read_bundled_tables
from supernet.manifest import read_manifest
from supernet.model import Supernet
from tests.gateway.following import until

ALPHA = Constraints("alpha")
Values = NDArray[np.float32]


class GatedEngine:
    """The real engine, with a gate before each run and a time of one's own to report."""

    reported_ms: float | None = None
    most_images, resident_bytes, whole_subnets, compile_failures, lost = 8, 0, 0, 0, 0

    def __init__(self, folder: Path) -> None:
        self._engine = make_engine(Net(folder), TorchBackend(), max_whole_bytes=10**6)
        self.gate, self.entered = threading.Event(), threading.Semaphore(0)
        self.gate.set()
        self.ran: list[str] = []
        self.fails_on: Callable[[ModelInputs], bool] = lambda _: False

    def processes(self) -> dict[int, int]:
        return {}

    def lane(self) -> GatedLane:
        return GatedLane(self, self._engine.lane())


class GatedLane:
    def __init__(self, engine: GatedEngine, lane: Lane) -> None:
        self._engine, self._lane = engine, lane

    def run(self, arch: Architecture, x: ModelInputs) -> Ran:
        engine = self._engine
        engine.entered.release()
        assert engine.gate.wait(30)
        if engine.fails_on(x):
            raise RuntimeError("the runtime failed")
        engine.ran.append(arch.id)
        ran = self._lane.run(arch, x)
        return ran if engine.reported_ms is None else replace(ran, compute_ms=engine.reported_ms)


class MadeUpCosts:
    """In proportion to MACs."""

    def __init__(self, space: DesignSpace, largest_ms: float) -> None:
        self._space, self._largest_ms = space, largest_ms

    def of(self, subnet: str) -> Line:
        most = complexity(self._space, self._space.largest).macs
        share = complexity(self._space, Architecture.parse(subnet)).macs / most
        return Line(0.0, self._largest_ms * share)


@pytest.fixture
def engine(artifact_folder: Path) -> GatedEngine:
    return GatedEngine(artifact_folder)


Make = Callable[..., Pipeline]


@pytest.fixture
def make(artifact_folder: Path, engine: GatedEngine) -> Iterator[Make]:
    """Makes pipelines around `engine`; options as for `Pipeline`."""
    workers: list[ThreadWorker] = []
    preparers = Preparers(2)

    def build(largest_ms: float = 1.0, **options: Any) -> Pipeline:
        manifest = read_manifest(artifact_folder)
        classes = DeviceClasses(manifest, read_bundled_tables(artifact_folder))
        costs = MadeUpCosts(manifest.design_space, largest_ms)

        def worker() -> ThreadWorker:
            workers.append(ThreadWorker(Executor(engine.lane(), manifest, preparers)))
            return workers[-1]

        return Pipeline(manifest, classes, engine, costs, worker, **options)

    yield build
    engine.gate.set()
    for worker in workers:
        worker.close()
    preparers.close()


@pytest.fixture(scope="module")
def image() -> ImageInput:
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return ImageInput(buffer.getvalue())


def tensor(rows: int = 1, resolution: int = 16) -> TensorInput:
    shape = (rows, 1, resolution, resolution)
    x = np.random.default_rng(0).normal(size=shape).astype("<f4")
    return TensorInput("FP32", shape, x.tobytes())


async def entered(engine: GatedEngine) -> None:
    """Wait until a worker stands at the gate."""
    assert await asyncio.to_thread(engine.entered.acquire, timeout=30)


async def at_the_gate(
    pipeline: Pipeline, engine: GatedEngine, image: ImageInput
) -> asyncio.Task[Answer]:
    """A request whose run waits until the gate is opened; whoever comes now waits behind it."""
    engine.gate.clear()
    task = asyncio.create_task(pipeline.infer(image, ALPHA))
    await entered(engine)
    return task


async def test_an_image_is_answered_by_the_subnet_selected(make: Make, image: ImageInput) -> None:
    pipeline = make()
    for constraints in (ALPHA, Constraints("beta"), Constraints("alpha", min_accuracy=0.6)):
        answer = await pipeline.infer(image, constraints)
        assert answer.selection == pipeline.select(constraints)
        assert answer.logits.shape == (1, 10)
        assert answer.compute_ms > 0
        assert answer.queue_ms >= 0
    assert pipeline.pending == 0


async def test_the_rows_of_a_tensor_share_one_subnet(make: Make) -> None:
    answer = await make().infer(tensor(rows=3), ALPHA)
    assert answer.logits.shape == (3, 10)
    assert Architecture.parse(answer.selection.subnet).resolution == 16


async def test_values_that_overflow_the_net_get_no_answer(make: Make) -> None:
    pipeline = make()
    huge = np.full((1, 1, 16, 16), 3e38, np.float32)
    with pytest.raises(InvalidRequest, match="logits are not finite"):
        await pipeline.infer(TensorInput("FP32", huge.shape, huge.tobytes()), ALPHA)
    assert np.isfinite((await pipeline.infer(tensor(), ALPHA)).logits).all()


async def test_a_small_tensor_is_never_enlarged(make: Make) -> None:
    pipeline = make()
    answer = await pipeline.infer(tensor(resolution=12), ALPHA)
    assert Architecture.parse(answer.selection.subnet).resolution == 12
    assert answer.selection == pipeline.select(ALPHA, max_resolution=12)
    assert not answer.selection.degraded


async def test_many_at_once_get_what_each_asked_for(make: Make, folded_supernet: Supernet) -> None:
    pipeline = make(num_workers=3)
    asked = [Constraints("alpha"), Constraints("beta")] * 20
    answers = await asyncio.gather(*(pipeline.infer(tensor(), c) for c in asked))
    for constraints, answer in zip(asked, answers, strict=True):
        assert answer.selection == pipeline.select(constraints)
        arch = Architecture.parse(answer.selection.subnet)
        space, preprocessing = pipeline.manifest.design_space, pipeline.manifest.preprocessing
        x = images.prepare(tensor(), arch.resolution, space, preprocessing).copy()
        alone = extract(folded_supernet, arch)(torch.from_numpy(x)).numpy()
        assert np.abs(alone - answer.logits).max() < 1e-4


@pytest.mark.parametrize(
    ("constraints", "model_input", "error"),
    [
        (Constraints("gamma"), tensor(), UnknownDeviceClass),
        (Constraints("alpha", latency_budget_ms=1e-9), tensor(), NoSubnet),
        (Constraints("alpha", min_accuracy=1.0), tensor(), NoSubnet),
        (ALPHA, tensor(rows=5), InvalidRequest),
        (ALPHA, TensorInput("FP32", (1, 1, 16, 16), b""), InvalidRequest),
        (ALPHA, TensorInput("FP32", (1, 1, 16, 16), b"\xff" * 1024), InvalidRequest),
        (ALPHA, ImageInput(b""), InvalidRequest),
        (ALPHA, ImageInput(b"no image"), InvalidRequest),
    ],
)
async def test_a_bad_request_leaves_nothing_behind(
    make: Make,
    image: ImageInput,
    constraints: Constraints,
    model_input: ImageInput | TensorInput,
    error: type[Exception],
) -> None:
    pipeline = make(max_batch=4, max_pending=1)
    for _ in range(3):
        with pytest.raises(error):
            await pipeline.infer(model_input, constraints)
    assert pipeline.pending == 0
    assert (await pipeline.infer(image, ALPHA)).logits.shape == (1, 10)


@pytest.mark.parametrize("deadline_s", [0.0, -1.0, 1e-9])
async def test_a_deadline_that_has_passed_is_told_at_once(
    make: Make, engine: GatedEngine, image: ImageInput, deadline_s: float
) -> None:
    pipeline = make()
    with pytest.raises(DeadlineExceeded):
        await pipeline.infer(image, ALPHA, deadline_s)
    assert engine.ran == []


async def test_the_queue_is_bounded(make: Make, engine: GatedEngine, image: ImageInput) -> None:
    pipeline = make(max_pending=3)
    engine.gate.clear()
    waiting = [asyncio.create_task(pipeline.infer(image, ALPHA)) for _ in range(3)]
    await until(lambda: pipeline.pending == 3, 10)
    with pytest.raises(QueueFull) as caught:
        await pipeline.infer(image, ALPHA)
    assert caught.value.retry_after_s > 0
    engine.gate.set()
    answers = await asyncio.gather(*waiting)
    assert len(answers) == 3
    assert answers[2].queue_ms > 0
    assert pipeline.pending == 0


async def test_a_filling_queue_takes_smaller_subnets_first(
    make: Make, engine: GatedEngine, image: ImageInput
) -> None:
    pipeline = make(largest_ms=400.0)
    engine.reported_ms = 400.0
    first = await at_the_gate(pipeline, engine, image)
    waiting = [first, *(asyncio.create_task(pipeline.infer(image, ALPHA)) for _ in range(7))]
    await until(lambda: pipeline.pending == 8, 10)
    engine.gate.set()
    answers = await asyncio.gather(*waiting)
    idle = pipeline.select(ALPHA)
    degraded = [answer.selection for answer in answers if answer.selection.degraded]
    assert len(degraded) == 7, "those that waited would have taken seconds together"
    assert all(selection.latency_ms < idle.latency_ms for selection in degraded)
    assert not answers[0].selection.degraded, "the first one had the gateway for itself"
    for answer in answers:
        lower = idle.accuracy - answer.selection.accuracy
        assert answer.accuracy_given_up == pytest.approx(lower)


async def test_who_waits_gets_no_answer_after_the_deadline(
    make: Make, engine: GatedEngine, image: ImageInput
) -> None:
    pipeline = make()
    running = await at_the_gate(pipeline, engine, image)
    started = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        await pipeline.infer(image, ALPHA, deadline_s=0.05)
    assert time.monotonic() - started < 5
    assert pipeline.pending == 1
    engine.gate.set()
    await running
    assert len(engine.ran) == 1


async def test_a_cancelled_request_gives_its_place_back(
    make: Make, engine: GatedEngine, image: ImageInput
) -> None:
    pipeline = make(max_pending=2)
    running = await at_the_gate(pipeline, engine, image)
    for _ in range(5):
        waiting = asyncio.create_task(pipeline.infer(image, ALPHA))
        await until(lambda: pipeline.pending == 2, 10)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert pipeline.pending == 1
    engine.gate.set()
    await running
    assert len(engine.ran) == 1


async def test_a_worker_is_busy_until_a_cancelled_forward_has_ended(
    make: Make, engine: GatedEngine, image: ImageInput
) -> None:
    pipeline = make()
    running = await at_the_gate(pipeline, engine, image)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    following = asyncio.create_task(pipeline.infer(image, ALPHA))
    await asyncio.sleep(0.05)
    assert not engine.entered.acquire(blocking=False)
    engine.gate.set()
    assert (await following).logits.shape == (1, 10)
    assert len(engine.ran) == 2


async def test_measured_times_take_a_smaller_subnet_before_the_deadline(
    make: Make, engine: GatedEngine, image: ImageInput
) -> None:
    pipeline = make()
    engine.reported_ms = 60_000.0
    best = await pipeline.infer(image, ALPHA)
    assert not best.selection.degraded
    engine.reported_ms = None
    hurried = await pipeline.infer(image, ALPHA, deadline_s=30.0)
    assert hurried.selection.degraded
    assert hurried.selection.accuracy < best.selection.accuracy
    unhurried = await pipeline.infer(image, ALPHA, deadline_s=3600.0)
    assert unhurried.selection == best.selection


async def test_one_bad_input_does_not_fail_its_neighbours(
    make: Make, engine: GatedEngine, image: ImageInput
) -> None:
    pipeline = make()
    first = await at_the_gate(pipeline, engine, image)
    poison = tensor(rows=3)
    inputs: list[ModelInput] = [image, ImageInput(b"no image"), poison, image]
    waiting = [asyncio.create_task(pipeline.infer(each, ALPHA)) for each in inputs]
    await until(lambda: pipeline.pending == 5, 10)
    engine.fails_on = lambda x: len(x) >= 3  # the batch, and the poison alone
    engine.gate.set()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    kinds = [type(result) for result in results]
    assert kinds == [Answer, InvalidRequest, GatewayError, Answer]
    assert pipeline.failed_batches == 1
    await first
    assert pipeline.worker_failures == 0


async def test_nobody_waits_for_a_neighbours_large_image_to_be_decoded(
    make: Make, engine: GatedEngine, image: ImageInput
) -> None:
    pipeline = make()
    first = await at_the_gate(pipeline, engine, image)
    large = io.BytesIO()
    Image.new("L", (3000, 2000)).save(large, "PNG", compress_level=1)
    inputs = [image, ImageInput(large.getvalue()), image]
    waiting = [asyncio.create_task(pipeline.infer(each, ALPHA)) for each in inputs]
    await until(lambda: pipeline.pending == 4, 10)
    engine.gate.set()
    answers = await asyncio.gather(*waiting)
    assert [answer.batch for answer in answers] == [2, 1, 2]
    assert answers[1].queue_ms > answers[2].queue_ms
    await first


async def test_a_minimum_accuracy_holds_in_a_hurry(
    make: Make, engine: GatedEngine, image: ImageInput
) -> None:
    pipeline = make()
    best = pipeline.select(ALPHA)
    engine.reported_ms = 60_000.0
    await pipeline.infer(image, ALPHA)
    only_the_best = Constraints("alpha", 1e6, best.accuracy)
    with pytest.raises(DeadlineExceeded):
        await pipeline.infer(image, only_the_best, deadline_s=30.0)


def test_opens_what_the_configuration_names(
    artifact_folder: Path, tmp_path: Path, image: ImageInput
) -> None:
    url = f"sqlite://{tmp_path}/tables.sqlite3"
    bundled: LatencyTable = read_bundled_tables(artifact_folder)[0]
    store = TableFile(tmp_path / "tables.sqlite3")
    store.put(bundled.scaled(2.0, "gamma", default_budget_ms=1e6))
    with open_pipeline(ServerConfig(artifact=artifact_folder, store=url)) as pipeline:
        names = [(i.name, i.version) for i in pipeline.device_classes()]
        assert names == [("alpha", 0), ("beta", 0), ("gamma", 1)]
        answer = asyncio.run(pipeline.infer(image, Constraints("gamma")))
        assert answer.logits.shape == (1, 10)
        assert pipeline.labels[0] == "ankle boot"
