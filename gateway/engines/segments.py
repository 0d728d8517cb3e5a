"""How a subnet is cut into what is compiled once and chained.

A folded net's 17 pieces are exact in every subnet. A call into a runtime costs some tens of
microseconds, about what the first pieces themselves take, so stem, first and second unit are
compiled together in each of their 9 forms: 19 segments, and a subnet is a chain of five.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from supernet.architecture import Architecture
from supernet.design_space import DesignSpace

TOGETHER = 3  # pieces at the front of the chain that are compiled as one


@dataclass(frozen=True, slots=True)
class Segment:
    """Pieces that run as one, in order, by their names."""

    pieces: tuple[str, ...]

    @property
    def name(self) -> str:
        return "+".join(self.pieces)


def chain(space: DesignSpace, arch: Architecture) -> tuple[Segment, ...]:
    """The segments of a subnet, in order."""
    return _cut(("stem", *(variant.name for variant in space.variants(arch)), "head"))


def segments(space: DesignSpace) -> tuple[Segment, ...]:
    """Every segment of a space, each once. Raises `ValueError` where it cannot be listed."""
    forms: list[list[str]] = [[] for _ in range(space.skeleton.unit_count)]
    for variant in space.unit_variants():
        forms[variant.unit].append(variant.name)
    chains = (_cut(("stem", *names, "head")) for names in itertools.product(*forms))
    return tuple(dict.fromkeys(segment for whole in chains for segment in whole))


def covering(space: DesignSpace, resolution: int) -> Iterator[Architecture]:
    """Few subnets of a resolution that have each segment at least once: always the one with the
    most new ones."""
    chains = {
        arch: set(chain(space, arch)) for arch in space.enumerate() if arch.resolution == resolution
    }
    missing = set(segments(space))
    while missing:
        arch = max(chains, key=lambda a: len(missing & chains[a]))
        missing -= chains[arch]
        yield arch


def _cut(names: Sequence[str]) -> tuple[Segment, ...]:
    front, rest = tuple(names[:TOGETHER]), names[TOGETHER:]
    return (Segment(front), *(Segment((name,)) for name in rest))
