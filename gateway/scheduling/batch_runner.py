"""Runs jobs through a subnet on a worker, and answers each of them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence

from gateway.engine_times import EngineTimes
from gateway.errors import InvalidRequest
from gateway.request import Answer, Selection, TensorInput
from gateway.scheduling.cores import Cores
from gateway.scheduling.job import Job
from gateway.workers.batch import Batch, Run, Worker

_LOG = logging.getLogger(__name__)


class BatchRunner:
    """What one worker does with the jobs it is handed."""

    def __init__(
        self,
        worker: Worker,
        times: EngineTimes,
        clock: Callable[[], float] = time.monotonic,
        *,
        cores: Cores,
    ) -> None:
        self._worker, self._times, self._clock, self._cores = worker, times, clock, cores

    async def __call__(self, subnet: str, jobs: Sequence[Job]) -> None:
        """Answer each of the jobs by `subnet`, which satisfies all of them."""
        with self._cores.at_work():
            while jobs:
                jobs = await self._answer(subnet, jobs)

    async def _answer(self, subnet: str, jobs: Sequence[Job]) -> Sequence[Job]:
        """Those whom the worker has postponed, so that nobody else has to wait for them."""
        taken_ms = self._now_ms()
        inputs, last_ms = (job.model_input for job in jobs), (job.last_ms for job in jobs)
        batch = Batch(subnet, tuple(inputs), tuple(last_ms), self._cores.are_idle())
        outcome = await self._worker.run(batch)
        self._record(subnet, outcome.runs, self._now_ms() - taken_ms)
        if outcome.failed_together:
            self._times.record_failure()
        for place, error in outcome.errors.items():
            jobs[place].fail(error)
        for run in outcome.runs:
            _log_run(subnet, run)
            for job, rows in _rows(run, jobs):
                _settle(job, rows, run, subnet, taken_ms)
        return [jobs[place] for place in outcome.postponed]

    def _record(self, subnet: str, runs: Sequence[Run], took_ms: float) -> None:
        for run in runs:
            self._times.record(subnet, len(run.logits), run.compute_ms)
        if len(runs) == 1:  # of those that ran one by one the rest is no handling
            handling_ms = max(0.0, took_ms - runs[0].compute_ms)
            self._times.record_handling(len(runs[0].logits), handling_ms)

    def _now_ms(self) -> float:
        return self._clock() * 1000


def _log_run(subnet: str, run: Run) -> None:
    if _LOG.isEnabledFor(logging.DEBUG):
        fields = {"subnet": subnet, "requests": len(run.places), "images": len(run.logits)}
        fields["compute_ms"] = round(run.compute_ms, 3)
        _LOG.debug("batch", extra={"fields": fields})


def _rows(run: Run, jobs: Sequence[Job]) -> Iterator[tuple[Job, slice]]:
    """Each job that ran, and which rows are its."""
    row = 0
    for place, rows in zip(run.places, run.rows, strict=True):
        yield jobs[place], slice(row, row + rows)
        row += rows


def _settle(job: Job, rows: slice, run: Run, subnet: str, taken_ms: float) -> None:
    if all(run.finite[rows]) or _takes_any_values(job):
        job.succeed(_answer(job, rows, run, subnet, taken_ms))
    else:
        expected = "normalised model input; from these values the logits are not finite"
        job.fail(InvalidRequest("tensor.raw", "out of range", expected))


def _takes_any_values(job: Job) -> bool:
    given = job.model_input
    return isinstance(given, TensorInput) and given.any_values


def _answer(job: Job, rows: slice, run: Run, subnet: str, taken_ms: float) -> Answer:
    chosen, best = job.ladder.subnets[subnet], job.ladder.best
    worse = (chosen.accuracy, chosen.latency_ms) != (best.accuracy, best.latency_ms)
    return Answer(
        run.logits[rows],
        run.classes[rows],
        Selection(subnet, chosen.accuracy, chosen.latency_ms, degraded=worse),
        run.compute_ms,
        taken_ms - job.arrived_ms,
        len(run.logits),
        max(0.0, best.accuracy - chosen.accuracy),  # the fastest may not be the best
    )
