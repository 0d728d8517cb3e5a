"""Spans of what requests share: the batch that a worker takes, and the engine's runs in it.

A batch belongs to the trace of its most urgent request, and links to the spans of all that it
serves; each of them has a span of its own for the time in the queue, which links to the batch.
Requests that are not sampled leave nothing here.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence

from opentelemetry.context import Context
from opentelemetry.trace import (
    Link,
    Span,
    StatusCode,
    Tracer,
    get_current_span,
    set_span_in_context,
)

from gateway.scheduling.job import Job
from gateway.scheduling.scheduler import RunBatch
from gateway.tracing import attributes
from gateway.tracing.attributes import Attributes
from gateway.workers.batch import Batch, Outcome, Run, Worker

QUEUE, BATCH, ENGINE = "queue", "batch", "engine"


class BatchSpans:
    """A pipeline's `Watch`. `clock` is the one that jobs are timed by, in seconds."""

    def __init__(self, tracer: Tracer, clock: Callable[[], float] = time.monotonic) -> None:
        self._tracer, self._clock = tracer, clock

    def runner(self, run: RunBatch) -> RunBatch:
        """The same, with spans of queue and batch."""
        return functools.partial(self._run, run)

    def worker(self, worker: Worker) -> Worker:
        """The same, with a span a run where its batch has one."""
        return _TracedWorker(worker, self._tracer)

    async def _run(self, run: RunBatch, subnet: str, jobs: Sequence[Job]) -> None:
        sampled = [(job, span) for job in jobs if (span := _span_of(job)) is not None]
        if not sampled:
            await run(subnet, jobs)
            return
        with self._tracer.start_as_current_span(
            BATCH,
            _within(sampled[0][1]),
            attributes={
                attributes.SUBNET: subnet,
                attributes.BATCH_SIZE: sum(job.rows for job in jobs),
                attributes.BATCH_REQUESTS: len(jobs),
            },
            links=[Link(span.get_span_context()) for _, span in sampled],
        ) as batch:
            for job, span in sampled:
                self._add_wait(job, span, batch)
            await run(subnet, jobs)

    def _add_wait(self, job: Job, request: Span, batch: Span) -> None:
        now_ns = time.time_ns()
        waited_ms = max(0.0, self._clock() * 1000 - job.arrived_ms)
        links = [Link(batch.get_span_context())]
        began_ns = now_ns - round(waited_ms * 1e6)
        self._tracer.start_span(QUEUE, _within(request), links=links, start_time=began_ns).end(
            now_ns
        )


class _TracedWorker:
    def __init__(self, worker: Worker, tracer: Tracer) -> None:
        self._worker, self._tracer = worker, tracer

    async def run(self, batch: Batch) -> Outcome:
        outcome = await self._worker.run(batch)
        if (span := get_current_span()).is_recording():
            for run in outcome.runs:
                self._add_run(batch.subnet, run)
            if outcome.failed_together:
                span.set_status(StatusCode.ERROR, "its requests ran one by one")
        return outcome

    def _add_run(self, subnet: str, run: Run) -> None:
        """The worker has said when it began and what it took; it may be another process."""
        told: Attributes = {
            attributes.SUBNET: subnet,
            attributes.BATCH_SIZE: len(run.logits),
            attributes.COMPUTE_MS: run.compute_ms,
        }
        span = self._tracer.start_span(ENGINE, attributes=told, start_time=run.began_ns)
        span.end(run.began_ns + round(run.compute_ms * 1e6))


def _span_of(job: Job) -> Span | None:
    """The span of the request, where it is sampled."""
    trace = job.call.trace if job.call is not None else None
    return trace.span if trace is not None and trace.span_id else None


def _within(span: Span) -> Context:
    return set_span_in_context(span, Context())
