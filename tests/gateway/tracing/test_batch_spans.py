"""Batches of jobs that are sampled, that are not, and that fail."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode, Tracer

from gateway.calls import Call, Trace
from gateway.request import ImageInput
from gateway.scheduling.job import Job
from gateway.scheduling.ladder import Ladder
from gateway.select import Candidate
from gateway.tracing.batch_spans import BatchSpans
from gateway.workers.batch import Batch, Outcome, Run
from supernet.architecture import Architecture
from tests.gateway.tracing.spans import Kept

SUBNET = Architecture((2, 2), 12)
ONLY = Candidate(SUBNET.id, 12, 0.8, 1.0)
LADDER = Ladder((ONLY,), {ONLY.subnet: ONLY})
NOW_S = 100.0
BEGAN_NS = 1_700_000_000_000_000_000
LOGITS = np.zeros((5, 2), np.float32)


def job(number: int, call: Call | None, waited_ms: float = 0.0, rows: int = 1) -> Job:
    arrived_ms = NOW_S * 1000 - waited_ms
    return Job(ImageInput(b""), rows, "alpha", LADDER, arrived_ms, None, number, 1.0, call=call)


def sampled(tracer: Tracer) -> Call:
    """A call whose span is sent."""
    span = tracer.start_span("request")
    return Call("Infer", "peer", trace=Trace(span, "t", "s"))


class OneRun:
    """Runs all together, or one by one."""

    fails = False

    async def run(self, batch: Batch) -> Outcome:
        places = range(len(batch.inputs))
        each = [(place,) for place in places] if self.fails else [tuple(places)]
        runs = tuple(Run(p, (1,) * len(p), LOGITS, (0,), (True,), 2.5, BEGAN_NS) for p in each)
        return Outcome(runs, {}, failed_together=self.fails)


@pytest.fixture
def kept() -> Kept:
    return Kept()


@pytest.fixture
def watch(kept: Kept) -> BatchSpans:
    return BatchSpans(kept.tracer, clock=lambda: NOW_S)


def id_of(span: ReadableSpan) -> int:
    context = span.get_span_context()
    assert context is not None
    return context.span_id


async def run(watch: BatchSpans, worker: OneRun, jobs: Sequence[Job]) -> None:
    """One batch, as a worker runs it."""
    traced = watch.worker(worker)

    async def runner(subnet: str, given: Sequence[Job]) -> None:
        assert (subnet, given) == (SUBNET.id, jobs)
        inputs = tuple(job.model_input for job in given)
        await traced.run(Batch(subnet, inputs, (math.inf,) * len(inputs)))

    await watch.runner(runner)(SUBNET.id, jobs)


async def test_what_is_not_sampled_leaves_nothing(watch: BatchSpans, kept: Kept) -> None:
    unsampled = Call("Infer", "peer", trace=Trace(Kept(0.0).tracer.start_span("request")))
    await run(watch, OneRun(), [job(1, None), job(2, Call("Infer", "peer")), job(3, unsampled)])
    assert kept.count == 0


async def test_a_batch_belongs_to_the_first_that_is_sampled_and_links_to_all(
    watch: BatchSpans, kept: Kept
) -> None:
    calls = [sampled(kept.tracer) for _ in range(2)]
    jobs = [job(1, None), job(2, calls[0], waited_ms=30, rows=3), job(3, calls[1], waited_ms=10)]
    await run(watch, OneRun(), jobs)
    contexts = [call.trace.span.get_span_context() for call in calls if call.trace]
    (batch,), (engine,) = kept.spans("batch"), kept.spans("engine")
    assert batch.parent is not None
    assert batch.parent.span_id == contexts[0].span_id
    assert [link.context.span_id for link in batch.links] == [c.span_id for c in contexts]
    assert batch.attributes is not None
    assert batch.attributes["compofa.batch_requests"] == 3
    assert batch.attributes["compofa.batch_size"] == 5
    assert engine.parent is not None
    assert engine.parent.span_id == id_of(batch)
    assert engine.attributes is not None
    assert engine.attributes["compofa.compute_ms"] == 2.5
    assert (engine.start_time, engine.end_time) == (BEGAN_NS, BEGAN_NS + 2_500_000)
    waits = kept.spans("queue")
    assert [wait.parent.span_id for wait in waits if wait.parent] == [c.span_id for c in contexts]
    assert [[link.context.span_id for link in w.links] for w in waits] == [[id_of(batch)]] * 2
    took_ms = [(w.end_time - w.start_time) / 1e6 for w in waits if w.end_time and w.start_time]
    assert took_ms == pytest.approx([30.0, 10.0], abs=0.001)


async def test_a_batch_that_fails_says_so_and_shows_each_alone(
    watch: BatchSpans, kept: Kept
) -> None:
    worker = OneRun()
    worker.fails = True
    await run(watch, worker, [job(1, sampled(kept.tracer)), job(2, None)])
    (batch,) = kept.spans("batch")
    assert batch.status.status_code is StatusCode.ERROR
    assert len(kept.spans("engine")) == 2


async def test_a_worker_that_runs_for_nobody_is_not_traced(watch: BatchSpans, kept: Kept) -> None:
    await watch.worker(OneRun()).run(Batch(SUBNET.id, (ImageInput(b""),), (math.inf,)))
    assert kept.count == 0
