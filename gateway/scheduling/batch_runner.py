"""Runs a batch: every job prepared for the subnet, all through the engine, each answered.

One bad input does not fail its neighbours: what cannot be prepared is answered by itself, and where
the engine fails on a batch its jobs are tried one by one.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gateway import images
from gateway.engine_times import EngineTimes
from gateway.errors import DeadlineExceeded, GatewayError, InvalidRequest
from gateway.images import Pixels, Values
from gateway.request import Answer, Selection, TensorInput
from gateway.scheduling.job import Job
from gateway.scheduling.preparers import Preparers
from gateway.scheduling.settling import settled_together
from supernet.architecture import Architecture
from supernet.manifest import Manifest

_LOG = logging.getLogger(__name__)
Logits = NDArray[np.float32]
_Prepared = tuple[Job, Values | Pixels]


class Ran(Protocol):
    """What a lane returns."""

    @property
    def logits(self) -> Logits: ...

    @property
    def compute_ms(self) -> float: ...


class Lane(Protocol):
    """An engine, for one thread at a time."""

    def run(self, arch: Architecture, x: Values, /) -> Ran: ...


class BatchRunner:
    """What one worker does with the batches it is handed."""

    def __init__(
        self,
        lane: Lane,
        manifest: Manifest,
        times: EngineTimes,
        clock: Callable[[], float] = time.monotonic,
        *,
        preparers: Preparers,
    ) -> None:
        self._lane, self._manifest, self._times, self._clock = lane, manifest, times, clock
        self._preparers = preparers

    def __call__(self, subnet: str, jobs: Sequence[Job]) -> None:
        """Answer each of the jobs by `subnet`, which satisfies all of them: those with large images
        after the others, who are not to wait for them to be decoded."""
        large = [job for job in jobs if images.is_large(job.model_input)] if len(jobs) > 1 else []
        others = [job for job in jobs if job not in large] if large else jobs
        with self._preparers.at_work():
            for together in filter(None, (others, large)):
                self._answer_all(subnet, together)

    def _answer_all(self, subnet: str, jobs: Sequence[Job]) -> None:
        arch, taken_ms = Architecture.parse(subnet), self._now_ms()
        each = map if self._is_little(jobs, arch.resolution) else self._preparers.map
        inputs = each(lambda job: self._model_input(job, arch.resolution), jobs)
        prepared = [(job, x) for job, x in zip(jobs, inputs, strict=True) if x is not None]
        if not prepared:
            return
        try:
            compute_ms = self._run(arch, prepared, taken_ms)
        except Exception as error:  # of a runtime: of whatever kind
            if len(prepared) > 1:
                self._times.record_failure()
                _LOG.warning("a batch of %d failed, now one by one: %s", len(prepared), error)
            for pair in prepared:
                self._run_alone(arch, pair, taken_ms)
        else:
            rows = sum(len(x) for _, x in prepared)
            self._times.record_handling(rows, max(0.0, self._now_ms() - taken_ms - compute_ms))

    def _is_little(self, jobs: Sequence[Job], resolution: int) -> bool:
        """Less than handing it to other threads would be."""
        return sum(not images.is_ready(job.model_input, resolution) for job in jobs) <= 1

    def _model_input(self, job: Job, resolution: int) -> Values | Pixels | None:
        """Not normalised yet. None where it cannot be had: the job is answered."""
        if self._is_late(job):
            return None
        space, preprocessing = self._manifest.design_space, self._manifest.preprocessing
        try:
            x = images.at(job.model_input, resolution, space, preprocessing)
        except GatewayError as error:
            job.fail(error)
            return None
        return None if self._is_late(job) else x

    def _is_late(self, job: Job) -> bool:
        """Then it is answered."""
        if late := self._now_ms() >= job.last_ms:
            job.fail(DeadlineExceeded())
        return late

    def _run_alone(self, arch: Architecture, pair: _Prepared, taken_ms: float) -> None:
        try:
            self._run(arch, [pair], taken_ms)
        except Exception:
            _LOG.exception("the engine failed on %s", arch.id)
            pair[0].fail(GatewayError())

    def _run(self, arch: Architecture, prepared: Sequence[_Prepared], taken_ms: float) -> float:
        """Answer all of them; what the engine took, in ms."""
        inputs = [x for _, x in prepared]
        ran = self._lane.run(arch, images.together(inputs, self._manifest.preprocessing))
        self._times.record(arch.id, len(ran.logits), ran.compute_ms)
        _log_batch(arch.id, len(inputs), ran)
        # Once for all: each numpy call gives up the interpreter's lock, and waits for it.
        classes = ran.logits.argmax(axis=1).tolist()
        finite: Any = np.isfinite(ran.logits).all(axis=1)
        row = 0
        with settled_together():
            for job, x in prepared:
                rows = slice(row, row + len(x))
                row += len(x)
                if _is_out_of_range(job, finite[rows].tolist()):
                    expected = "normalised model input; from these values the logits are not finite"
                    job.fail(InvalidRequest("tensor.raw", "out of range", expected))
                else:
                    job.succeed(_answer(job, rows, classes, arch.id, ran, taken_ms))
        return ran.compute_ms

    def _now_ms(self) -> float:
        return self._clock() * 1000


def _log_batch(subnet: str, requests: int, ran: Ran) -> None:
    if _LOG.isEnabledFor(logging.DEBUG):
        fields = {"subnet": subnet, "requests": requests, "images": len(ran.logits)}
        fields["compute_ms"] = round(ran.compute_ms, 3)
        _LOG.debug("batch", extra={"fields": fields})


def _is_out_of_range(job: Job, finite: Sequence[bool]) -> bool:
    given = job.model_input
    return not (all(finite) or (isinstance(given, TensorInput) and given.any_values))


def _answer(
    job: Job, rows: slice, classes: Sequence[int], subnet: str, ran: Ran, taken_ms: float
) -> Answer:
    chosen, best = job.ladder.subnets[subnet], job.ladder.best
    worse = (chosen.accuracy, chosen.latency_ms) != (best.accuracy, best.latency_ms)
    return Answer(
        ran.logits[rows],
        tuple(classes[rows]),
        Selection(subnet, chosen.accuracy, chosen.latency_ms, degraded=worse),
        ran.compute_ms,
        taken_ms - job.arrived_ms,
        len(ran.logits),
        max(0.0, best.accuracy - chosen.accuracy),  # the fastest may not be the best
    )
