"""From a request to its answer: the one path that every protocol is a translation onto.

Where selection, scheduler, engine and device classes meet. Knows no protocol; an event loop calls
`infer`, a command line `infer_sync`.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import time
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

from gateway import images
from gateway.calls import ongoing_call
from gateway.config import DEFAULT_MAX_PENDING
from gateway.device_classes import DeviceClasses
from gateway.engine_times import EngineTimes
from gateway.engines.costs import Line
from gateway.engines.opening import cpus
from gateway.errors import DeadlineExceeded
from gateway.request import DEFAULT_MAX_BATCH, Answer, Constraints, ModelInput, Selection
from gateway.scheduling.batch_runner import BatchRunner, Lane
from gateway.scheduling.dispatcher import Limits
from gateway.scheduling.job import Job
from gateway.scheduling.ladder import Ladder, ladder_of
from gateway.scheduling.preparers import Preparers
from gateway.scheduling.scheduler import RunBatch, Scheduler
from gateway.scheduling.settling import awaitable
from gateway.select import Candidates, select
from gateway.stores.tables import DeviceClassInfo
from supernet.manifest import Manifest

__all__ = ["DeviceClassInfo", "Pipeline"]

_KEPT_LADDERS = 4096


class Engine(Protocol):
    """What the pipeline needs of an engine, and those who watch it."""

    def lane(self) -> Lane:
        """For one thread."""
        ...

    @property
    def most_images(self) -> int: ...

    @property
    def resident_bytes(self) -> int: ...

    @property
    def whole_subnets(self) -> int: ...

    @property
    def compile_failures(self) -> int: ...


class Costs(Protocol):
    """What runs of a subnet cost the engine, before anything ran."""

    def of(self, subnet: str, /) -> Line: ...


class Watch(Protocol):
    """Sees every batch, and every run of the engine, as it is made."""

    def worker(self, run: RunBatch, /) -> RunBatch: ...

    def lane(self, lane: Lane, /) -> Lane: ...


class Pipeline:
    """Answers requests for one artifact. Safe to use from any thread."""

    def __init__(
        self,
        manifest: Manifest,
        device_classes: DeviceClasses,
        engine: Engine,
        costs: Costs,
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
        self._preparers = Preparers(cpus())
        self._scheduler = Scheduler(
            lambda: self._worker(watch),
            self._times,
            Limits(max_pending, self._together, num_workers),
            clock,
        )

    @property
    def pending(self) -> int:
        """How many requests wait or run."""
        return self._scheduler.pending

    def waiting(self) -> list[Job]:
        """Those that wait now, whose turn is next first."""
        return self._scheduler.waiting()

    @property
    def worker_failures(self) -> int:
        """How often a worker had to be replaced."""
        return self._scheduler.failures

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
        try:
            async with asyncio.timeout(deadline_s):
                return await awaitable(job.future)
        except TimeoutError:
            raise DeadlineExceeded() from None

    def infer_sync(
        self, model_input: ModelInput, constraints: Constraints, deadline_s: float | None = None
    ) -> Answer:
        """`infer` for a caller without an event loop."""
        job = self._job(model_input, constraints, deadline_s)
        self._scheduler.submit(job)
        return job.future.result()

    def close(self) -> None:
        """Answer what waits, and give the workers up."""
        self._scheduler.close()
        self._preparers.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _worker(self, watch: Watch | None) -> RunBatch:
        lane = self.engine.lane()
        seen = lane if watch is None else watch.lane(lane)
        runner = BatchRunner(
            seen, self.manifest, self._times, self._clock, preparers=self._preparers
        )
        return runner if watch is None else watch.worker(runner)

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
