"""Every subnet of a folded net, resident: its segments compiled once, chained as asked."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from gateway.engines.backend import Backend, Program, Runner, Values
from gateway.engines.segments import Segment, chain, segments
from supernet.architecture import Architecture
from supernet.design_space import DesignSpace

if TYPE_CHECKING:
    from torch import nn

Pieces = Callable[[], Mapping[str, "nn.Module"]]


class ChainPrograms:
    """The segments of a space, compiled when made. Safe to use from several threads."""

    def __init__(self, space: DesignSpace, backend: Backend, pieces: Pieces) -> None:
        """`pieces` gives the net's pieces by name; it is called at most once, and not at all
        where the backend has compiled everything before."""
        self._space = space
        all_pieces = functools.cache(pieces)

        def compiled(segment: Segment) -> Program:
            def build() -> list[nn.Module]:
                return [all_pieces()[name] for name in segment.pieces]

            skeleton, first = space.skeleton, segment.pieces[0]
            dtype = skeleton.inputs.dtype if first == "stem" else "FP32"
            return backend.compile(segment.name, build, skeleton.piece_input(first), dtype)

        self._programs = {segment: compiled(segment) for segment in segments(space)}

    def runners(self) -> ChainRunners:
        """For one thread."""
        return ChainRunners(self._space, self._programs)

    def release(self) -> None:
        """As of each program."""
        for program in self._programs.values():
            program.release()


class ChainRunners:
    """Runs any subnet. For one thread at a time."""

    def __init__(self, space: DesignSpace, programs: Mapping[Segment, Program]) -> None:
        self._space = space
        self._runners = {segment: program.runner() for segment, program in programs.items()}
        self._chains: dict[tuple[int, ...], tuple[Runner, ...]] = {}

    def __call__(self, arch: Architecture, x: Values) -> Values:
        for runner in self._chain(arch):
            x = runner(x)
        return x

    def timed(
        self, arch: Architecture, x: Values, clock: Callable[[], float]
    ) -> Iterator[tuple[Segment, float]]:
        """Run a subnet, a segment at each step; what the clock says that it took."""
        for segment, runner in zip(chain(self._space, arch), self._chain(arch), strict=True):
            started = clock()
            x = runner(x)
            yield segment, clock() - started

    def _chain(self, arch: Architecture) -> tuple[Runner, ...]:
        """The same at every resolution."""
        found = self._chains.get(arch.depths)
        if found is None:
            found = tuple(self._runners[segment] for segment in chain(self._space, arch))
            self._chains[arch.depths] = found
        return found
