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
from opentelemetry.trace import Link, Span, Tracer, get_current_span, set_span_in_context

from gateway.images import Values
from gateway.scheduling.batch_runner import Lane, Ran
from gateway.scheduling.job import Job
from gateway.scheduling.scheduler import RunBatch
from gateway.tracing import attributes
from gateway.tracing.attributes import Attributes
from supernet.architecture import Architecture

QUEUE, BATCH, ENGINE = "queue", "batch", "engine"


class BatchSpans:
    """A pipeline's `Watch`. `clock` is the one that jobs are timed by, in seconds."""

    def __init__(self, tracer: Tracer, clock: Callable[[], float] = time.monotonic) -> None:
        self._tracer, self._clock = tracer, clock

    def worker(self, run: RunBatch) -> RunBatch:
        """The same, with spans of queue and batch."""
        return functools.partial(self._run, run)

    def lane(self, lane: Lane) -> Lane:
        """The same, with a span a run where its batch has one."""
        return _TracedLane(lane, self._tracer)

    def _run(self, run: RunBatch, subnet: str, jobs: Sequence[Job]) -> None:
        sampled = [(job, span) for job in jobs if (span := _span_of(job)) is not None]
        if not sampled:
            run(subnet, jobs)
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
            run(subnet, jobs)

    def _add_wait(self, job: Job, request: Span, batch: Span) -> None:
        now_ns = time.time_ns()
        waited_ms = max(0.0, self._clock() * 1000 - job.arrived_ms)
        links = [Link(batch.get_span_context())]
        began_ns = now_ns - round(waited_ms * 1e6)
        self._tracer.start_span(QUEUE, _within(request), links=links, start_time=began_ns).end(
            now_ns
        )


class _TracedLane:
    def __init__(self, lane: Lane, tracer: Tracer) -> None:
        self._lane, self._tracer = lane, tracer

    def run(self, arch: Architecture, x: Values) -> Ran:
        if not get_current_span().is_recording():
            return self._lane.run(arch, x)
        told: Attributes = {attributes.SUBNET: arch.id, attributes.BATCH_SIZE: len(x)}
        with self._tracer.start_as_current_span(ENGINE, attributes=told) as span:
            ran = self._lane.run(arch, x)
            span.set_attribute(attributes.COMPUTE_MS, ran.compute_ms)
            return ran


def _span_of(job: Job) -> Span | None:
    """The span of the request, where it is sampled."""
    trace = job.call.trace if job.call is not None else None
    return trace.span if trace is not None and trace.span_id else None


def _within(span: Span) -> Context:
    return set_span_in_context(span, Context())
