"""Runs any subnet of a net: whole where it is compiled so, as a chain of pieces otherwise.

Which subnet a request gets, and when, is decided elsewhere.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from gateway.engines.backend import Array, Backend, ModelInputs, Program, Runner
from gateway.engines.chain_programs import ChainPrograms, ChainRunners
from gateway.engines.residency import Residency
from gateway.engines.usage import Usage
from gateway.engines.whole_subnets import Whole, WholeSubnets
from supernet.architecture import Architecture

Way = Literal["whole", "chain"]


@dataclass(frozen=True, slots=True)
class Ran:
    """Logits [B, classes], what the run alone took, and in which way."""

    logits: Array
    compute_ms: float
    way: Way


class Engine(Residency):
    """What a net's lanes share. Without `chain` a subnet is compiled whole when it first runs."""

    def __init__(
        self,
        backend: Backend,
        whole: WholeSubnets[Program],
        usage: Usage,
        chain: ChainPrograms | None = None,
        *,
        chain_bytes: int = 0,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        super().__init__(whole, usage, chain_bytes)
        self.backend, self.chain, self.clock = backend, chain, clock
        self.name, self.most_images = backend.name, backend.most_images
        self.learns_shapes = backend.learns_shapes

    def lane(self) -> Lane:
        """For one thread."""
        return Lane(self)


class Lane:
    """Runs one subnet after another. For one thread at a time."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._chain: ChainRunners | None = engine.chain.runners() if engine.chain else None
        self._runners: dict[Architecture, tuple[Whole[Program], Runner]] = {}
        self._given_up = engine.whole.given_up

    def run(self, arch: Architecture, x: ModelInputs) -> Ran:
        """`x` is what the net takes at the architecture's resolution, batch first, C-contiguous.
        Raises `RuntimeError` where the runtime fails."""
        engine = self.engine
        engine.usage.add(arch)
        self._let_go()
        whole = engine.whole.get(arch)
        if whole is None and self._chain is None:
            whole = engine.whole.obtain(arch)
        run: Runner
        way: Way
        if whole is not None:
            way, run = "whole", self._runner(arch, whole)
        else:
            assert self._chain is not None, "what has no chain is compiled whole above"
            way, run = "chain", functools.partial(self._chain, arch)
        started = engine.clock()
        logits = [self._logits(run, part) for part in _parts(x, engine.most_images)]
        together = logits[0] if len(logits) == 1 else np.concatenate(logits)
        return Ran(together, (engine.clock() - started) * 1000, way)

    def _logits(self, run: Runner, x: ModelInputs) -> Array:
        backend = self.engine.backend
        return backend.to_array(run(backend.to_values(x)))

    def _runner(self, arch: Architecture, whole: Whole[Program]) -> Runner:
        """Ours for a program."""
        known = self._runners.get(arch)
        if known is None or known[0] is not whole:
            known = self._runners[arch] = (whole, whole.program.runner())
        return known[1]

    def _let_go(self) -> None:
        """Of runners whose programs were given up: they hold the weights."""
        whole = self.engine.whole
        if self._given_up != whole.given_up:
            self._given_up = whole.given_up
            gone = [a for a, (ours, _) in self._runners.items() if whole.get(a) is not ours]
            for arch in gone:
                del self._runners[arch]


def _parts(x: ModelInputs, most: int) -> Iterator[ModelInputs]:
    for first in range(0, len(x), most):
        yield x[first : first + most]
