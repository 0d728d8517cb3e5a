"""What a run of any subnet costs the engine, from measurements of its segments.

A segment takes so long to start and so long for each image more; a chain is the sum. 19 segments at
three resolutions are measured in seconds, 1,215 subnets in minutes.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from gateway.engines.backend import Backend, zeros
from gateway.engines.chain_programs import ChainRunners
from gateway.engines.segments import Segment, chain, covering, segments
from supernet.architecture import Architecture
from supernet.complexity import complexity
from supernet.design_space import DesignSpace

FEW, MANY = 1, 8  # images in the two measured batches
RUNS = {FEW: 8, MANY: 3}
"""How often; the shortest counts. The first few of a shape are slower, by half at one image."""


@dataclass(frozen=True, slots=True, order=True)
class Line:
    """Milliseconds of a run with no images, and of each image."""

    fixed_ms: float
    image_ms: float

    def __add__(self, other: Line) -> Line:
        return Line(self.fixed_ms + other.fixed_ms, self.image_ms + other.image_ms)

    def ms(self, images: int) -> float:
        return self.fixed_ms + self.image_ms * images

    def towards(self, other: Line, share: float) -> Line:
        """Between this one, at a share of 0, and another, at 1."""
        return Line(
            self.fixed_ms + share * (other.fixed_ms - self.fixed_ms),
            self.image_ms + share * (other.image_ms - self.image_ms),
        )

    @classmethod
    def through(cls, few_ms: float, many_ms: float) -> Line:
        """The line through what `FEW` and `MANY` images took. Neither part is below nothing, also
        where noise says so."""
        image_ms = max(0.0, (many_ms - few_ms) / (MANY - FEW))
        return cls(max(0.0, few_ms - image_ms * FEW), image_ms)


class Costs:
    """Lines of subnets, added up when they are first asked for."""

    def __init__(self, space: DesignSpace, lines: Mapping[tuple[str, int], Line]) -> None:
        """`lines` has one for each segment's name and each resolution."""
        self._space, self._lines = space, lines
        self._of: dict[str, Line] = {}

    def of(self, subnet: str) -> Line:
        """Raises `KeyError` for a subnet that is none."""
        found = self._of.get(subnet)
        if found is None:
            arch = Architecture.parse(subnet)
            parts = [self._lines[s.name, arch.resolution] for s in chain(self._space, arch)]
            found = self._of[subnet] = sum(parts, Line(0.0, 0.0))
        return found

    def to_json(self) -> bytes:
        rows = [[*key, line.fixed_ms, line.image_ms] for key, line in self._lines.items()]
        return json.dumps(rows).encode()

    @classmethod
    def from_json(cls, space: DesignSpace, document: bytes) -> Costs:
        """The inverse of `to_json`. Raises `ValueError` where segments are missing."""
        lines = {(name, r): Line(fixed, image) for name, r, fixed, image in json.loads(document)}
        expected = {(s.name, r) for s in segments(space) for r in space.resolutions}
        if lines.keys() != expected:
            raise ValueError("costs: they are of another design space")
        return cls(space, lines)


class CostsByMacs:
    """For a net without segments: what two of its subnets took, and between them by MACs."""

    def __init__(self, space: DesignSpace, measured: Mapping[Architecture, Line]) -> None:
        """`measured` has two subnets, or one where there is no other."""
        self._space = space
        ends = sorted((complexity(space, arch).macs, line) for arch, line in measured.items())
        (self._low, self._small), (self._high, self._large) = ends[0], ends[-1]

    def of(self, subnet: str) -> Line:
        """Raises `ValueError` for a subnet that is none."""
        macs = complexity(self._space, Architecture.parse(subnet)).macs
        share = (macs - self._low) / max(1, self._high - self._low)
        return self._small.towards(self._large, share)


def measure(
    space: DesignSpace,
    backend: Backend,
    runners: ChainRunners,
    clock: Callable[[], float] = time.perf_counter,
) -> Costs:
    """Every segment at some resolutions, with few and with many images, each the shortest of some
    runs on what the segments before it make of zeros; between two resolutions by what comes in."""
    sizes = {r: math.prod(space.skeleton.inputs.shape(r)) for r in space.resolutions}
    measured = {
        r: _lines(space, backend, runners, r, clock) for r in _spread(sorted(space.resolutions))
    }
    lines = {}
    for resolution, size in sizes.items():
        low = max(r for r in measured if r <= resolution)
        high = min(r for r in measured if r >= resolution)
        share = (size - sizes[low]) / max(1, sizes[high] - sizes[low])
        for name, line in measured[low].items():
            lines[name, resolution] = line.towards(measured[high][name], share)
    return Costs(space, lines)


def _spread(resolutions: Sequence[int]) -> set[int]:
    """The lowest, a middle one and the highest."""
    return {resolutions[0], resolutions[len(resolutions) // 2], resolutions[-1]}


def _lines(
    space: DesignSpace,
    backend: Backend,
    runners: ChainRunners,
    resolution: int,
    clock: Callable[[], float],
) -> dict[str, Line]:
    few, many = (
        _shortest(space, backend, runners, resolution, images, clock) for images in (FEW, MANY)
    )
    return {s.name: Line.through(few_ms, many[s]) for s, few_ms in few.items()}


def _shortest(
    space: DesignSpace,
    backend: Backend,
    runners: ChainRunners,
    resolution: int,
    images: int,
    clock: Callable[[], float],
) -> dict[Segment, float]:
    x = zeros(space.skeleton.inputs, images, resolution)
    shortest: dict[Segment, float] = {}
    for arch in covering(space, resolution):
        for _ in range(RUNS[images]):
            for segment, taken_s in runners.timed(arch, backend.to_values(x), clock):
                shortest[segment] = min(1000 * taken_s, shortest.get(segment, math.inf))
    return shortest
