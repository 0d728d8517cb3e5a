"""From a request to its answer: the one path that every protocol is a translation onto.

Where selection, scheduler, engine and device classes meet. Knows no protocol.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import time
from collections.abc import Callable, Mapping
from typing import Protocol

from gateway import images
from gateway.calls import ongoing_call
from gateway.config import DEFAULT_MAX_PENDING
from gateway.device_classes import DeviceClasses
from gateway.engine_times import EngineTimes
from gateway.engines.costs import Line
from gateway.engines.opening import cpus
from gateway.errors import DeadlineExceeded
from gateway.request import DEFAULT_MAX_BATCH, Answer, Constraints, ModelInput, Selection
from gateway.scheduling.batch_runner import BatchRunner
from gateway.scheduling.cores import Cores
from gateway.scheduling.dispatcher import Limits
from gateway.scheduling.job import Job
from gateway.scheduling.ladder import Ladder, ladder_of
from gateway.scheduling.scheduler import RunBatch, Scheduler
from gateway.select import Candidates, select
from gateway.stores.tables import DeviceClassInfo
from gateway.workers.batch import Worker
from supernet.manifest import Manifest

__all__ = ["DeviceClassInfo", "Pipeline"]

_KEPT_LADDERS = 4096


class Engine(Protocol):
    """What those who watch the pipeline see of its engine."""

    @property
    def most_images(self) -> int: ...

    @property
    def resident_bytes(self) -> int: ...

    @property
    def whole_subnets(self) -> int: ...

    @property
    def compile_failures(self) -> int: ...

    @property
    def lost(self) -> int: ...

    def processes(self) -> Mapping[int, int]: ...


class Costs(Protocol):
    """What runs of a subnet cost the engine, before anything ran."""

    def of(self, subnet: str, /) -> Line: ...


class Watch(Protocol):
    """Sees every batch, and every run of the engine, once it is made."""

    def runner(self, run: RunBatch, /) -> RunBatch: ...

    def worker(self, worker: Worker, /) -> Worker: ...


class Pipeline:
    """Answers requests for one artifact, in one event loop."""

    def __init__(
        self,
        manifest: Manifest,
        device_classes: DeviceClasses,
        engine: Engine,
        costs: Costs,
        make_worker: Callable[[], Worker],
        *,
        max_batch: int = DEFAULT_MAX_BATCH,
        max_pending: int = DEFAULT_MAX_PENDING,
        num_workers: int = 1,
        clock: Callable[[], float] = time.monotonic,
        watch: Watch | None = None,
    ) -> None:
        self.manifest, self.engine = manifest, engine
        self._device_classes, self.max_batch, self._clock = device_classes, max_batch, clock
        self.max_pending, self._together = max_pending, min(max_batch, engine.most_images)
        self._numbers = itertools.count()
        self._engine_ms = {e.subnet: costs.of(e.subnet).ms(1) for e in manifest.catalog.entries}
        self._ladder = functools.lru_cache(_KEPT_LADDERS)(self._new_ladder)
        self._times = EngineTimes(costs.of, clock)
        self._make_worker, self._cores = make_worker, Cores(cpus())
        self._scheduler = Scheduler(
            lambda: self._runner(watch),
            self._times,
            Limits(max_pending, self._together, num_workers),
            clock,
        )

    @property
    def pending(self) -> int:
        """How many requests wait or run."""
        return self._scheduler.pending

    @property
    def run_spread(self) -> float:
        """How unsteady runs are: `Lateness.spread`."""
        return self._scheduler.spread

    def waiting(self) -> list[Job]:
        """Those that wait now, whose turn is next first."""
        return self._scheduler.waiting()

    @property
    def worker_failures(self) -> int:
        """How often a worker had to be replaced."""
        return self._scheduler.failures + self.engine.lost

    @property
    def failed_batches(self) -> int:
        """How often the engine failed on requests that ran together."""
        return self._times.failed_batches

    @property
    def labels(self) -> tuple[str, ...]:
        return self.manifest.labels

    def device_classes(self) -> tuple[DeviceClassInfo, ...]:
        """The device classes there are now, by name."""
        return self._device_classes.infos()

    @property
    def fallback_device_class(self) -> str | None:
        """The class that serves requests of unknown ones, if there is one."""
        return self._device_classes.fallback

    def resolve(self, name: str) -> str | None:
        """The device class that a name or an alias means; None where there is none."""
        return self._device_classes.resolve(name)

    def candidates(self, device_class: str) -> Candidates:
        """What may answer on a device class. Raises `UnknownDeviceClass`."""
        return self._device_classes.candidates(device_class)

    def select(self, constraints: Constraints, max_resolution: int | None = None) -> Selection:
        """What an idle gateway would choose. Raises `UnknownDeviceClass` or `NoSubnet`."""
        if (call := ongoing_call()) is not None:
            call.constraints = constraints
        candidates = self._device_classes.candidates(constraints.device_class)
        return select(candidates, constraints, max_resolution=max_resolution)

    async def infer(
        self, model_input: ModelInput, constraints: Constraints, deadline_s: float | None = None
    ) -> Answer:
        """The answer, within `deadline_s` seconds from now if given. Raises `GatewayError`.

        A caller that gives up (cancels) frees its place; a forward that runs already ends first.
        """
        job = self._job(model_input, constraints, deadline_s)
        self._scheduler.submit(job)
        late = None
        if deadline_s is not None:
            loop = asyncio.get_running_loop()
            late = loop.call_later(deadline_s, job.fail, DeadlineExceeded())
        try:
            return await job.future
        finally:
            self._scheduler.forget(job)
            if late is not None:
                late.cancel()

    def _runner(self, watch: Watch | None) -> RunBatch:
        worker = self._make_worker()
        seen = worker if watch is None else watch.worker(worker)
        runner = BatchRunner(seen, self._times, self._clock, cores=self._cores)
        return runner if watch is None else watch.runner(runner)

    def _job(
        self, model_input: ModelInput, constraints: Constraints, deadline_s: float | None
    ) -> Job:
        if (call := ongoing_call()) is not None:
            call.constraints = constraints
        now_ms = self._clock() * 1000
        if deadline_s is not None and deadline_s <= 0:
            raise DeadlineExceeded()
        size = images.size_of(model_input, self.manifest.design_space, self.max_batch)
        candidates = self._device_classes.candidates(constraints.device_class)
        steps = self._ladder(candidates, constraints, size.max_resolution)
        batch_ms = self._times.expected_ms(steps.cheapest.subnet, self._together)
        return Job(
            model_input,
            size.rows,
            candidates.device_class,
            steps,
            now_ms,
            None if deadline_s is None else now_ms + deadline_s * 1000,
            next(self._numbers),
            batch_ms * size.rows / self._together,
            call=call,
        )

    def _new_ladder(
        self, candidates: Candidates, constraints: Constraints, max_resolution: int | None
    ) -> Ladder:
        return ladder_of(candidates, constraints, self._engine_ms, max_resolution)
