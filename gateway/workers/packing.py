"""Batches and outcomes on their way between processes: what is large lies in shared memory, the
rest goes as a message of plain tuples, which are quickly pickled."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np

from gateway.errors import GatewayError
from gateway.request import ImageInput, ModelInput, TensorInput
from gateway.workers.batch import Batch, Outcome, Run
from gateway.workers.channel import SharedMemory

_ALIGNED = 64  # bytes: a cache line, and whatever a runtime wants

Span: TypeAlias = tuple[int, int]
"""Where bytes begin and end in shared memory."""
_Form: TypeAlias = tuple[str, tuple[int, ...], bool] | None
"""A tensor's type and shape, and whether it may have any values; None of an image."""
PackedBatch: TypeAlias = tuple[str, tuple[_Form, ...], tuple[Span, ...], tuple[float, ...], bool]
"""Subnet, inputs and where their data lies, and the rest as a batch has it."""
_PackedRun: TypeAlias = tuple[
    tuple[int, ...], tuple[int, ...], Span, tuple[int, ...], tuple[bool, ...], float, int
]
"""As a run has it, its logits by where they lie."""
PackedOutcome: TypeAlias = tuple[
    tuple[_PackedRun, ...], Mapping[int, GatewayError], tuple[int, ...], bool
]


def packed(batch: Batch, memory: SharedMemory) -> PackedBatch:
    """For `unpacked` at the other end. The inputs are copied."""
    spans = _written(memory, [memoryview(given.data).cast("B") for given in batch.inputs], 0)
    forms = tuple(map(_form, batch.inputs))
    return batch.subnet, forms, spans, batch.last_ms, batch.side_by_side


def unpacked(told: PackedBatch, memory: SharedMemory) -> Batch:
    """Its tensors lie in shared memory, until the next batch."""
    subnet, forms, spans, last_ms, side_by_side = told
    room = memory.at_least(spans[-1][1])
    data = (room[start:end] for start, end in spans)
    return Batch(subnet, tuple(map(_input, forms, data)), last_ms, side_by_side)


def end_of(told: PackedBatch) -> int:
    """Where shared memory is free."""
    _, _, spans, _, _ = told
    return spans[-1][1]


def packed_outcome(outcome: Outcome, memory: SharedMemory, start: int) -> PackedOutcome:
    """Logits are copied, from `start` on."""
    logits = [np.ascontiguousarray(run.logits).data.cast("B") for run in outcome.runs]
    spans = _written(memory, logits, start)
    runs = (
        (run.places, run.rows, span, run.classes, run.finite, run.compute_ms, run.began_ns)
        for run, span in zip(outcome.runs, spans, strict=True)
    )
    return tuple(runs), outcome.errors, outcome.postponed, outcome.failed_together


def unpacked_outcome(told: PackedOutcome, memory: SharedMemory) -> Outcome:
    """A copy: the next batch takes the memory."""
    runs, errors, postponed, failed_together = told
    return Outcome(tuple(_run(run, memory) for run in runs), errors, postponed, failed_together)


def _form(given: ModelInput) -> _Form:
    if isinstance(given, TensorInput):
        return given.dtype, given.shape, given.any_values
    return None


def _input(form: _Form, data: memoryview) -> ModelInput:
    if form is None:
        return ImageInput(bytes(data))
    dtype, shape, any_values = form
    return TensorInput(dtype, shape, data, any_values)


def _run(told: _PackedRun, memory: SharedMemory) -> Run:
    places, rows, (start, end), classes, finite, compute_ms, began_ns = told
    logits = np.frombuffer(bytes(memory.at_least(end)[start:end]), np.float32)
    shaped = logits.reshape(len(classes), -1)
    return Run(places, rows, shaped, classes, finite, compute_ms, began_ns)


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
