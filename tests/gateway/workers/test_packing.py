"""Batches and outcomes come back from shared memory as they were."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from gateway.errors import DeadlineExceeded, GatewayError, InvalidRequest
from gateway.request import ImageInput, Logits, ModelInput, TensorInput
from gateway.workers.batch import Batch, Outcome, Run
from gateway.workers.channel import Channel, SharedMemory
from gateway.workers.packing import (
    end_of,
    packed,
    packed_outcome,
    unpacked,
    unpacked_outcome,
)
from tests.gateway.workers.batches import batch, raw, tensor

TIMES = st.floats(0) | st.just(math.inf)


@st.composite
def tensors(draw: st.DrawFn) -> TensorInput:
    """Of one value or more, whichever they are."""
    dtype, itemsize = draw(st.sampled_from([("FP32", 4), ("INT64", 8)]))
    shape = tuple(draw(st.lists(st.integers(1, 5), min_size=1, max_size=4)))
    size = itemsize * math.prod(shape)
    data = draw(st.binary(min_size=size, max_size=size))
    given = memoryview(data) if draw(st.booleans()) else data
    return TensorInput(dtype, shape, given, draw(st.booleans()))


INPUTS = st.one_of(tensors(), st.builds(ImageInput, st.binary(min_size=1, max_size=300)))


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    inputs: list[ModelInput] = draw(st.lists(INPUTS, min_size=1, max_size=5))
    last_ms = tuple(draw(TIMES) for _ in inputs)
    return Batch(draw(st.text(max_size=20)), tuple(inputs), last_ms, draw(st.booleans()))


@st.composite
def runs(draw: st.DrawFn) -> Run:
    """One row and one class, or more; values that are none, and rows that are not contiguous."""
    shape = draw(st.tuples(st.integers(1, 4), st.integers(1, 40)))
    logits = draw(arrays.arrays(np.float32, shape, elements=st.floats(width=32), fill=st.just(0)))
    if draw(st.booleans()):
        logits = np.asfortranarray(logits)
    rows = shape[0]
    return Run(
        tuple(draw(st.lists(st.integers(0, 31), min_size=1, max_size=rows))),
        (rows,),
        cast("Logits", logits),
        tuple(draw(st.integers(0, shape[1] - 1)) for _ in range(rows)),
        tuple(draw(st.booleans()) for _ in range(rows)),
        draw(TIMES),
        draw(st.integers(0, 2**63)),
    )


INVALID = InvalidRequest("image", b"no image", "one whole image: PNG, JPEG or WEBP")
ERRORS = st.sampled_from([GatewayError(), DeadlineExceeded(), INVALID])
OUTCOMES = st.builds(
    Outcome,
    st.lists(runs(), max_size=3).map(tuple),
    st.dictionaries(st.integers(0, 31), ERRORS, max_size=3),
    st.lists(st.integers(0, 31), max_size=3).map(tuple),
    st.booleans(),
)


@contextmanager
def joined() -> Iterator[tuple[Channel, Channel, SharedMemory]]:
    """Both ends, and the memory between them."""
    (ours, theirs), memory = Channel.pair(), SharedMemory.made()
    try:
        yield ours, theirs, memory
    finally:
        for end in (ours, theirs, memory):
            end.close()


def assert_same(found: Outcome, expected: Outcome) -> None:
    assert (found.postponed, found.failed_together) == (
        expected.postponed,
        expected.failed_together,
    )
    assert [as_told(found.errors[p]) for p in expected.errors] == [
        as_told(error) for error in expected.errors.values()
    ]
    assert len(found.errors) == len(expected.errors)
    for ours, theirs in zip(found.runs, expected.runs, strict=True):
        np.testing.assert_array_equal(ours.logits, theirs.logits, strict=True)
        assert beside_logits(ours) == beside_logits(theirs)


def as_told(error: GatewayError) -> tuple[object, ...]:
    """All that callers, and logs, get to see."""
    return type(error), error.code, error.safe_message, str(error), vars(error)


def beside_logits(run: Run) -> tuple[object, ...]:
    return run.places, run.rows, run.classes, run.finite, run.compute_ms, run.began_ns


@given(st.lists(batches(), min_size=1, max_size=2))
def test_a_batch_comes_back_the_same(given: list[Batch]) -> None:
    with joined() as (ours, theirs, memory):
        for batch in given:
            ours.send(packed(batch, memory))
            assert unpacked(theirs.receive(), memory) == batch


@given(st.lists(OUTCOMES, min_size=1, max_size=2), batches())
def test_an_outcome_comes_back_the_same_and_leaves_the_batch_alone(
    given: list[Outcome], batch: Batch
) -> None:
    with joined() as (ours, theirs, memory):
        told = packed(batch, memory)
        for outcome in given:
            theirs.send(packed_outcome(outcome, memory, end_of(told)))
            found = unpacked_outcome(ours.receive(), memory)
            assert_same(found, outcome)
        assert unpacked(told, memory) == batch


def test_an_outcome_is_a_copy_and_a_batch_is_none() -> None:
    with joined() as (_, _, memory):
        told = packed(batch(tensor()), memory)
        (seen,) = unpacked(told, memory).inputs
        run = Run((0,), (1,), np.ones((1, 3), np.float32), (0,), (True,), 1.0, 1)
        outcome = unpacked_outcome(
            packed_outcome(Outcome((run,), {}), memory, end_of(told)), memory
        )
        memory.at_least(1)[:] = bytes(len(memory.at_least(1)))
        assert not any(seen.data)
        assert (outcome.runs[0].logits == 1).all()


def test_each_begins_where_a_runtime_wants_it() -> None:
    with joined() as (_, _, memory):
        for given in (
            batch(ImageInput(b"1")),
            batch(*(ImageInput(b"1" * n) for n in (63, 64, 65))),
        ):
            _, _, spans, _, _ = packed(given, memory)
            assert [begin % 64 for begin, _ in spans] == [0] * len(given.inputs)
        x = raw(np.ones((3, 1, 5, 5), np.float32))
        (seen,) = unpacked(packed(batch(x), memory), memory).inputs
        assert np.frombuffer(seen.data, np.float32).ctypes.data % 64 == 0


def test_values_need_not_lie_there_as_bytes() -> None:
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    with joined() as (_, _, memory):
        told = packed(batch(TensorInput("FP32", (2, 3), values.data)), memory)
        (seen,) = unpacked(told, memory).inputs
        assert bytes(seen.data) == values.tobytes()


def test_the_message_of_a_full_batch_is_small() -> None:
    """The kernel takes about 200 kB."""
    full = batch(*(tensor() for _ in range(256)))
    with joined() as (ours, theirs, memory):
        ours.send(packed(full, memory))
        assert unpacked(theirs.receive(5), memory) == full
