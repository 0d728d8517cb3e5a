"""Batches of jobs that are sampled, that are not, and that fail."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode, Tracer

from gateway.calls import Call, Trace
from gateway.images import Values
from gateway.request import ImageInput
from gateway.scheduling.batch_runner import Ran
from gateway.scheduling.job import Job
from gateway.scheduling.ladder import Ladder
from gateway.select import Candidate
from gateway.tracing.batch_spans import BatchSpans
from supernet.architecture import Architecture
from tests.gateway.tracing.spans import Kept

SUBNET = Architecture((2, 2), 12)
ONLY = Candidate(SUBNET.id, 12, 0.8, 1.0)
LADDER = Ladder((ONLY,), {ONLY.subnet: ONLY})
NOW_S = 100.0


def job(number: int, call: Call | None, waited_ms: float = 0.0, rows: int = 1) -> Job:
    arrived_ms = NOW_S * 1000 - waited_ms
    return Job(ImageInput(b""), rows, "alpha", LADDER, arrived_ms, None, number, 1.0, call=call)


def sampled(tracer: Tracer) -> Call:
    """A call whose span is sent."""
    span = tracer.start_span("request")
    return Call("Infer", "peer", trace=Trace(span, "t", "s"))


class Engine:
    """Runs, or does not."""

    fails = False

    def run(self, arch: Architecture, x: Values) -> Ran:  # noqa: ARG002
        if self.fails:
            raise RuntimeError("the runtime failed")
        return SimpleNamespace(logits=np.zeros((len(x), 2), np.float32), compute_ms=2.5)


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


def run(watch: BatchSpans, engine: Engine, jobs: Sequence[Job]) -> None:
    """One batch, as a worker runs it."""
    lane = watch.lane(engine)
    rows = sum(job.rows for job in jobs)

    def worker(subnet: str, given: Sequence[Job]) -> None:
        assert (subnet, given) == (SUBNET.id, jobs)
        lane.run(SUBNET, np.zeros((rows, 1, 12, 12), np.float32))

    watch.worker(worker)(SUBNET.id, jobs)


def test_what_is_not_sampled_leaves_nothing(watch: BatchSpans, kept: Kept) -> None:
    unsampled = Call("Infer", "peer", trace=Trace(Kept(0.0).tracer.start_span("request")))
    run(watch, Engine(), [job(1, None), job(2, Call("Infer", "peer")), job(3, unsampled)])
    assert kept.count == 0


def test_a_batch_belongs_to_the_first_that_is_sampled_and_links_to_all(
    watch: BatchSpans, kept: Kept
) -> None:
    calls = [sampled(kept.tracer) for _ in range(2)]
    jobs = [job(1, None), job(2, calls[0], waited_ms=30, rows=3), job(3, calls[1], waited_ms=10)]
    run(watch, Engine(), jobs)
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
    waits = kept.spans("queue")
    assert [wait.parent.span_id for wait in waits if wait.parent] == [c.span_id for c in contexts]
    assert [[link.context.span_id for link in w.links] for w in waits] == [[id_of(batch)]] * 2
    took_ms = [(w.end_time - w.start_time) / 1e6 for w in waits if w.end_time and w.start_time]
    assert took_ms == pytest.approx([30.0, 10.0], abs=0.001)


def test_a_run_that_fails_says_so_and_fails_as_ever(watch: BatchSpans, kept: Kept) -> None:
    engine = Engine()
    engine.fails = True
    with pytest.raises(RuntimeError, match="the runtime failed"):
        run(watch, engine, [job(1, sampled(kept.tracer))])
    for name in ("engine", "batch"):
        (span,) = kept.spans(name)
        assert span.status.status_code is StatusCode.ERROR


def test_an_engine_that_runs_for_nobody_is_not_traced(watch: BatchSpans, kept: Kept) -> None:
    watch.lane(Engine()).run(SUBNET, np.zeros((1, 1, 12, 12), np.float32))
    assert kept.count == 0
