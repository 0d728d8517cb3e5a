"""What a run of any subnet costs the engine, from measurements of its segments.

A segment takes so long to start and so long for each image more; a chain is the sum. 19 segments at
five resolutions are measured in seconds, 1,215 subnets in minutes.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from statistics import median

from gateway.engines.backend import Backend, zeros
from gateway.engines.chain_programs import ChainRunners
from gateway.engines.segments import Segment, chain, segments
from supernet.architecture import Architecture
from supernet.complexity import complexity
from supernet.design_space import DesignSpace

FEW, MANY = 1, 8  # images in the two measured batches
REPEATS = 5


@dataclass(frozen=True, slots=True, order=True)
class Line:
    """Milliseconds of a run with no images, and of each image."""

    fixed_ms: float
    image_ms: float

    def __add__(self, other: Line) -> Line:
        return Line(self.fixed_ms + other.fixed_ms, self.image_ms + other.image_ms)

    def ms(self, images: int) -> float:
        return self.fixed_ms + self.image_ms * images

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
        small, large = self._small, self._large
        return Line(
            small.fixed_ms + share * (large.fixed_ms - small.fixed_ms),
            small.image_ms + share * (large.image_ms - small.image_ms),
        )


def measure(
    space: DesignSpace,
    backend: Backend,
    runners: ChainRunners,
    clock: Callable[[], float] = time.perf_counter,
) -> Costs:
    """Every segment at every resolution, with few and with many images, each the median of some
    runs on what the segments before it make of zeros."""
    lines = {}
    for resolution in space.resolutions:
        few, many = (
            _medians(space, backend, runners, resolution, images, clock) for images in (FEW, MANY)
        )
        for segment, few_ms in few.items():
            lines[segment.name, resolution] = Line.through(few_ms, many[segment])
    return Costs(space, lines)


def _medians(
    space: DesignSpace,
    backend: Backend,
    runners: ChainRunners,
    resolution: int,
    images: int,
    clock: Callable[[], float],
) -> dict[Segment, float]:
    x = zeros(space.skeleton.inputs, images, resolution)
    seconds: dict[Segment, list[float]] = {}
    for arch in _covering(space, resolution):
        for run in range(REPEATS + 1):  # the first sets up buffers of this shape
            timed = runners.timed(arch, backend.to_values(x), clock)
            for segment, taken in timed if run else ():
                seconds.setdefault(segment, []).append(taken)
    return {segment: 1000 * median(taken) for segment, taken in seconds.items()}


def _covering(space: DesignSpace, resolution: int) -> Iterable[Architecture]:
    """Subnets that have each segment at least once."""
    missing = set(segments(space))
    for arch in space.enumerate():
        if arch.resolution == resolution and (new := missing & set(chain(space, arch))):
            missing -= new
            yield arch
