"""Runs batches, in the thread that calls: inputs prepared for the subnet, all through an engine.

One bad input does not fail its neighbours: what cannot be prepared has an error of its own, and
where the engine fails on a batch its inputs are tried one by one.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from gateway import images
from gateway.errors import DeadlineExceeded, GatewayError
from gateway.images import Pixels, Values
from gateway.request import Logits
from gateway.workers.batch import Batch, Outcome, Run
from gateway.workers.preparers import Preparers
from supernet.architecture import Architecture
from supernet.manifest import Manifest

_LOG = logging.getLogger(__name__)
_Prepared = dict[int, Values | Pixels]
"""By the input's place."""


class Ran(Protocol):
    """What a lane returns."""

    @property
    def logits(self) -> Logits: ...

    @property
    def compute_ms(self) -> float: ...


class Lane(Protocol):
    """An engine, for one thread at a time."""

    def run(self, arch: Architecture, x: Values, /) -> Ran: ...


class Executor:
    """For one thread at a time. `clock` is the one that deadlines are of, in seconds."""

    def __init__(
        self,
        lane: Lane,
        manifest: Manifest,
        preparers: Preparers,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._lane, self._manifest, self._preparers, self._clock = lane, manifest, preparers, clock

    def run(self, batch: Batch) -> Outcome:
        """Those with large images are postponed where there are others."""
        errors: dict[int, GatewayError] = {}
        arch, places = Architecture.parse(batch.subnet), range(len(batch.inputs))
        large = [p for p in places if images.is_large(batch.inputs[p])] if len(places) > 1 else []
        postponed = tuple(large) if len(large) < len(places) else ()
        now = [place for place in places if place not in postponed]
        prepared = self._prepared(batch, now, arch.resolution, errors)
        if not prepared:
            return Outcome((), errors, postponed)
        try:
            return Outcome((self._run(arch, prepared),), errors, postponed)
        except Exception as error:  # of a runtime: of whatever kind
            if together := len(prepared) > 1:
                _LOG.warning("a batch of %d failed, now one by one: %s", len(prepared), error)
            alone = (self._run_alone(arch, place, x, errors) for place, x in prepared.items())
            return Outcome(tuple(filter(None, alone)), errors, postponed, together)

    def _prepared(
        self,
        batch: Batch,
        places: Sequence[int],
        resolution: int,
        errors: dict[int, GatewayError],
    ) -> _Prepared:
        def prepare(place: int) -> Values | Pixels | GatewayError:
            return self._model_input(batch, place, resolution)

        side_by_side = batch.side_by_side and not _is_little(batch, resolution)
        found = (self._preparers.map if side_by_side else map)(prepare, places)
        prepared: _Prepared = {}
        for place, x in zip(places, found, strict=True):
            if isinstance(x, GatewayError):
                errors[place] = x
            else:
                prepared[place] = x
        return prepared

    def _model_input(
        self, batch: Batch, place: int, resolution: int
    ) -> Values | Pixels | GatewayError:
        """Not normalised yet; or why it cannot be had."""
        space, preprocessing = self._manifest.design_space, self._manifest.preprocessing
        if self._is_late(batch, place):
            return DeadlineExceeded()
        try:
            x = images.at(batch.inputs[place], resolution, space, preprocessing)
        except GatewayError as error:
            return error
        except Exception:  # of whatever kind: its neighbours have nothing to do with it
            _LOG.exception("an input could not be prepared")
            return GatewayError()
        return DeadlineExceeded() if self._is_late(batch, place) else x

    def _is_late(self, batch: Batch, place: int) -> bool:
        return self._clock() * 1000 >= batch.last_ms[place]

    def _run_alone(
        self, arch: Architecture, place: int, x: Values | Pixels, errors: dict[int, GatewayError]
    ) -> Run | None:
        try:
            return self._run(arch, {place: x})
        except Exception:
            _LOG.exception("the engine failed on %s", arch.id)
            errors[place] = GatewayError()
            return None

    def _run(self, arch: Architecture, prepared: _Prepared) -> Run:
        inputs: Sequence[Values | Pixels] = list(prepared.values())
        x = images.together(inputs, self._manifest.preprocessing)
        began_ns = time.time_ns()
        ran = self._lane.run(arch, x)
        # Once for all: each numpy call gives up the interpreter's lock, and waits for it.
        finite: Any = np.isfinite(ran.logits).all(axis=1)
        return Run(
            tuple(prepared),
            tuple(map(len, inputs)),
            ran.logits,
            tuple(ran.logits.argmax(axis=1).tolist()),
            tuple(finite.tolist()),
            ran.compute_ms,
            began_ns,
        )


def _is_little(batch: Batch, resolution: int) -> bool:
    """Less than handing it to other threads would be."""
    return sum(not images.is_ready(given, resolution) for given in batch.inputs) <= 1
