"""Batches and outcomes on their way between processes: what is large lies in shared memory, the
rest goes as a message that JSON can say."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np

from gateway.errors import DeadlineExceeded, GatewayError, InvalidRequest
from gateway.request import ImageInput, ModelInput, TensorInput
from gateway.workers.batch import Batch, Outcome, Run
from gateway.workers.channel import Message, SharedMemory

_ALIGNED = 64  # bytes: a cache line, and whatever a runtime wants

Span: TypeAlias = Sequence[int]
"""Where bytes begin and end in shared memory."""
_TOLD: dict[str, Callable[[], GatewayError]] = {
    DeadlineExceeded.code: DeadlineExceeded,
    GatewayError.code: GatewayError,
}
"""Errors that say no more than what they are."""


def packed(batch: Batch, memory: SharedMemory) -> Message:
    """For `unpacked` at the other end. The inputs are copied."""
    spans = _written(memory, [memoryview(given.data).cast("B") for given in batch.inputs], 0)
    forms = tuple(map(_form, batch.inputs))
    return batch.subnet, forms, spans, batch.last_ms, batch.side_by_side


def unpacked(told: Message, memory: SharedMemory) -> Batch:
    """Its tensors lie in shared memory, until the next batch."""
    subnet, forms, spans, last_ms, side_by_side = told
    room = memory.at_least(spans[-1][1])
    data = (room[start:end] for start, end in spans)
    return Batch(subnet, tuple(map(_input, forms, data)), tuple(last_ms), side_by_side)


def end_of(told: Message) -> int:
    """Where shared memory is free."""
    end: int = told[2][-1][1]
    return end


def packed_outcome(outcome: Outcome, memory: SharedMemory, start: int) -> Message:
    """Logits are copied, from `start` on."""
    logits = [np.ascontiguousarray(run.logits).data.cast("B") for run in outcome.runs]
    spans = _written(memory, logits, start)
    runs = (
        (run.places, run.rows, span, run.classes, run.finite, run.compute_ms, run.began_ns)
        for run, span in zip(outcome.runs, spans, strict=True)
    )
    errors = [(place, *_said(error)) for place, error in outcome.errors.items()]
    return tuple(runs), errors, outcome.postponed, outcome.failed_together


def unpacked_outcome(told: Message, memory: SharedMemory) -> Outcome:
    """A copy: the next batch takes the memory."""
    runs, errors, postponed, failed_together = told
    return Outcome(
        tuple(_run(run, memory) for run in runs),
        {place: _error(*said) for place, *said in errors},
        tuple(postponed),
        failed_together,
    )


def _said(error: GatewayError) -> tuple[str, ...]:
    if isinstance(error, InvalidRequest):
        return error.code, error.field, error.given, error.expected
    assert error.code in _TOLD, "no other keeps an input from its answer"
    return (error.code,)


def _error(code: str, *said: str) -> GatewayError:
    return InvalidRequest.told(*said) if said else _TOLD[code]()


def _form(given: ModelInput) -> Message:
    if isinstance(given, TensorInput):
        return given.dtype, given.shape, given.any_values
    return None


def _input(form: Message, data: memoryview) -> ModelInput:
    if form is None:
        return ImageInput(bytes(data))
    dtype, shape, any_values = form
    return TensorInput(dtype, tuple(shape), data, any_values)


def _run(told: Message, memory: SharedMemory) -> Run:
    places, rows, (start, end), classes, finite, compute_ms, began_ns = told
    logits = np.frombuffer(bytes(memory.at_least(end)[start:end]), np.float32)
    shaped = logits.reshape(len(classes), -1)
    lists = tuple(places), tuple(rows), shaped, tuple(classes), tuple(finite)
    return Run(*lists, compute_ms, began_ns)


def _written(memory: SharedMemory, parts: Sequence[memoryview], start: int) -> tuple[Span, ...]:
    """Copied one after another from `start` on."""
    sizes = [-(-part.nbytes // _ALIGNED) * _ALIGNED for part in parts]
    first = -(-start // _ALIGNED) * _ALIGNED
    starts = list(itertools.accumulate(sizes, initial=first))
    room = memory.at_least(starts[-1])
    spans = tuple((begin, begin + part.nbytes) for part, begin in zip(parts, starts, strict=False))
    for part, (begin, end) in zip(parts, spans, strict=True):
        room[begin:end] = part
    return spans
