"""From a request to its answer: select, wait for a worker, decode, run.

The one place where selection, engine and device classes meet. Knows no protocol; an event
loop calls `infer`, a command line `infer_sync`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np
import torch

from gateway import images
from gateway.config import DEFAULT_MAX_PENDING, ServerConfig
from gateway.device_classes import DeviceClasses
from gateway.engine import Engine, TorchEngine
from gateway.engine_times import EngineTimes
from gateway.errors import DeadlineExceeded, GatewayError, InvalidRequest, QueueFull
from gateway.request import DEFAULT_MAX_BATCH, Answer, Constraints, ModelInput, Selection
from gateway.select import select
from gateway.stores import read_device_classes
from gateway.tables import DeviceClassInfo
from supernet import artifact
from supernet.architecture import Architecture
from supernet.manifest import Manifest

__all__ = ["DeviceClassInfo", "Pipeline", "make_pipeline", "open_pipeline"]

SHORTEST_RETRY_S = 0.05


@dataclass(frozen=True, slots=True)
class Job:
    """A request whose form is right. Times are the clock's, in seconds; `until` is the
    deadline, `arrived` when the request came."""

    model_input: ModelInput
    constraints: Constraints
    size: images.InputSize
    arrived: float
    until: float | None


class Pipeline:
    """Answers requests for one artifact, `num_workers` at a time, and bounds those that wait.

    `infer` belongs to one event loop; everything else may be called from any thread.
    """

    def __init__(
        self,
        manifest: Manifest,
        device_classes: DeviceClasses,
        engine: Engine,
        *,
        max_batch: int = DEFAULT_MAX_BATCH,
        max_pending: int = DEFAULT_MAX_PENDING,
        num_workers: int = 1,
        threads_per_worker: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.manifest, self.engine = manifest, engine
        self._device_classes = device_classes
        self._max_batch, self._max_pending = max_batch, max_pending
        self._num_workers = num_workers
        self._clock = clock
        self._times = EngineTimes(clock)
        self._pending = 0
        self._free_workers = asyncio.Semaphore(num_workers)
        self._workers = ThreadPoolExecutor(
            num_workers, "engine", initializer=_use_threads, initargs=(threads_per_worker,)
        )

    @property
    def pending(self) -> int:
        """How many requests wait or run."""
        return self._pending

    @property
    def labels(self) -> tuple[str, ...]:
        return self.manifest.labels

    def device_classes(self) -> tuple[DeviceClassInfo, ...]:
        """The device classes there are now, by name."""
        return self._device_classes.infos()

    def resolve(self, name: str) -> str | None:
        """The device class that a name or an alias means; None where there is none."""
        return self._device_classes.resolve(name)

    def select(self, constraints: Constraints, max_resolution: int | None = None) -> Selection:
        """What an idle gateway would choose. Raises `UnknownDeviceClass` or `NoSubnet`."""
        candidates = self._device_classes.candidates(constraints.device_class)
        return select(candidates, constraints, max_resolution=max_resolution)

    async def infer(
        self, model_input: ModelInput, constraints: Constraints, deadline_s: float | None = None
    ) -> Answer:
        """The answer, within `deadline_s` seconds from now if given. Raises `GatewayError`.

        A caller that gives up (cancels) frees its place; a forward that runs already ends first.
        """
        job = self._job(model_input, constraints, deadline_s)
        if self._pending >= self._max_pending:
            raise QueueFull(max(self._expected_wait_ms() / 1000, SHORTEST_RETRY_S))
        self._choose(job, self._expected_wait_ms())
        with self._place():
            await self._free_worker(job)
            return await asyncio.wrap_future(self._submit(job))

    def infer_sync(
        self, model_input: ModelInput, constraints: Constraints, deadline_s: float | None = None
    ) -> Answer:
        """`infer` for a caller without an event loop; waits for a worker without a bound."""
        job = self._job(model_input, constraints, deadline_s)
        return self._workers.submit(self._answer, job).result()

    def warm(self) -> None:
        """Make ready what each device class gets by default, and a worker with it."""
        for name in self._device_classes.names:
            with suppress(GatewayError):
                subnet = self.select(Constraints(name)).subnet
                self._workers.submit(self.engine.prepare, subnet).result()

    def close(self) -> None:
        """Let what runs end, and give the workers up."""
        self._workers.shutdown(cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _job(
        self, model_input: ModelInput, constraints: Constraints, deadline_s: float | None
    ) -> Job:
        now = self._clock()
        if deadline_s is not None and deadline_s <= 0:
            raise DeadlineExceeded()
        size = images.size_of(model_input, self.manifest.design_space, self._max_batch)
        until = None if deadline_s is None else now + deadline_s
        return Job(model_input, constraints, size, now, until)

    @contextmanager
    def _place(self) -> Iterator[None]:
        self._pending += 1
        try:
            yield
        finally:
            self._pending -= 1

    async def _free_worker(self, job: Job) -> None:
        """Wait for a worker, not beyond the deadline."""
        left = None if job.until is None else max(0.0, job.until - self._clock())
        try:
            async with asyncio.timeout(left):
                await self._free_workers.acquire()
        except TimeoutError:
            raise DeadlineExceeded() from None

    def _submit(self, job: Job) -> Future[Answer]:
        """Hand a job to the worker that is free; it counts as busy until it has really ended."""
        loop = asyncio.get_running_loop()

        def free(_: Future[Answer]) -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(self._free_workers.release)

        future = self._workers.submit(self._answer, job)
        future.add_done_callback(free)
        return future

    def _answer(self, job: Job) -> Answer:
        """Runs in a worker. The subnet is chosen here, when the time left is known."""
        queue_ms = (self._clock() - job.arrived) * 1000
        selection = self._choose(job, wait_ms=0.0)
        resolution = Architecture.parse(selection.subnet).resolution
        space, preprocessing = self.manifest.design_space, self.manifest.preprocessing
        x = images.prepare(job.model_input, resolution, space, preprocessing)
        if job.until is not None and self._clock() >= job.until:
            raise DeadlineExceeded()
        logits, compute_ms = self.engine.run(selection.subnet, x)
        if not np.isfinite(logits).all():
            expected = "normalised model input; from these values the logits are not finite"
            raise InvalidRequest("tensor.raw", "out of range", expected)
        self._times.record(selection.subnet, job.size.rows, compute_ms)
        return Answer(logits, selection, compute_ms, queue_ms)

    def _choose(self, job: Job, wait_ms: float) -> Selection:
        """The subnet for a job that is to wait for `wait_ms` from now."""
        candidates = self._device_classes.candidates(job.constraints.device_class)
        resolution, effort = job.size.max_resolution, self._effort(job)
        if job.until is None:
            return select(candidates, job.constraints, max_resolution=resolution, effort=effort)
        return select(
            candidates,
            job.constraints,
            max_resolution=resolution,
            effort=effort,
            engine_budget_ms=(job.until - self._clock()) * 1000 - wait_ms,
            engine_ms=self._times.expected_ms(job.size.rows),
        )

    def _effort(self, job: Job) -> float:
        """Falls from 1 to 0 while the second half of the places fills, or of the time that the
        caller allows in all is taken by what waits."""
        taken = self._pending / self._max_pending
        if job.until is not None:
            allowed_ms = (job.until - job.arrived) * 1000
            taken = max(taken, self._expected_wait_ms() / allowed_ms)
        return min(1.0, max(0.0, 2.0 * (1.0 - taken)))

    def _expected_wait_ms(self) -> float:
        return self._pending / self._num_workers * self._times.typical_ms


def open_pipeline(config: ServerConfig) -> Pipeline:
    """Everything `config` names, loaded and ready, with the device classes there are now. Raises
    `ValueError` in one line. Not within an event loop."""
    loaded = artifact.load(config.artifact)
    device_classes = read_device_classes(
        config.artifact, loaded.manifest, config.store, fallback=config.fallback_device_class
    )
    return make_pipeline(config, loaded, device_classes)


def make_pipeline(
    config: ServerConfig, loaded: artifact.Artifact, device_classes: DeviceClasses
) -> Pipeline:
    """A pipeline as `config` wants it, warm."""
    engine = TorchEngine(loaded.supernet, max_resident_bytes=config.max_resident_bytes)
    pipeline = Pipeline(
        loaded.manifest,
        device_classes,
        engine,
        max_batch=config.max_batch,
        max_pending=config.max_pending,
        num_workers=config.workers,
        threads_per_worker=config.threads,
    )
    pipeline.warm()
    return pipeline


def _use_threads(threads: int | None) -> None:
    """Called once in each worker: how many threads torch may use for one forward."""
    if threads is not None:
        torch.set_num_threads(threads)
