"""Latencies of whole populations from a lookup table of blocks, as arrays.

The blocks of a unit see the same feature maps whatever the others are, so a table has one number
for each (resolution, unit, first block or later, kernel, expand ratio); a net is a sum of them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from supernet.architecture import Architecture
from supernet.block_keys import unit_keys, unit_sizes
from supernet.lookup_table import LookupTable
from supernet.population import Population
from supernet.skeleton import UnitVariant

Milliseconds = NDArray[np.float64]
_Choices = tuple[int, ...]


class BlockLatency:
    """What each architecture of a population takes, in ms; infinite where the table lacks a part.

    `resolutions` are those of the space at which the table has at least one whole net; `missing`
    counts the blocks of the space that it lacks there.
    """

    def __init__(self, table: LookupTable) -> None:
        self._table, self.space = table, table.space
        space, slots = table.space, max(table.space.depths)
        most = max(space.resolutions), max(map(max, space.kernels)), max(space.expand_ratios)
        resolutions, kernels, ratios = (value + 1 for value in most)  # 0 is an empty slot's
        self._ends = np.full(resolutions, np.inf)
        self._blocks = np.full((resolutions, len(space.kernels), slots, kernels, ratios), np.inf)
        self._blocks[..., 0, 0] = 0.0
        for resolution in table.resolutions:
            self._fill(resolution)
        self.resolutions = tuple(r for r in table.resolutions if self._fastest_at(r) is not None)
        self.missing = sum(
            int(np.isinf(self._blocks[resolution, unit, :2, kernel, ratio]).sum())
            for resolution in self.resolutions
            for unit, kernel, ratio in self._forms()
        )

    def __call__(self, population: Population) -> Milliseconds:
        """Latency [N] in ms."""
        _, units, slots, *_ = self._blocks.shape
        at, unit = population.resolutions[:, None, None], np.arange(units)[:, None]
        chosen = population.kernels, population.expand_ratios
        blocks = self._blocks[at, unit, np.arange(slots), *chosen]
        total: Milliseconds = self._ends[population.resolutions] + blocks.sum((1, 2))
        return total

    def fastest(self, resolutions: Sequence[int]) -> Architecture:
        """The architecture of the space that takes least, at some of `resolutions`."""
        each = [arch for arch in map(self._fastest_at, resolutions) if arch is not None]
        return each[int(self(Population.of(self.space, each)).argmin())]

    def _fill(self, resolution: int) -> None:
        table, slots = self._table, self._blocks.shape[2]
        try:
            self._ends[resolution] = table.ends_ms(resolution)
        except ValueError:  # no net at this resolution then
            return
        skeleton = table.skeleton
        sizes = unit_sizes(skeleton, resolution)
        for unit, kernel, ratio in self._forms():
            variant = UnitVariant(unit, (kernel,) * slots, (ratio,) * slots)
            for slot, key in enumerate(unit_keys(skeleton, variant, sizes[unit])):
                found = table.block_ms(resolution, key)
                if found is not None:
                    self._blocks[resolution, unit, slot, kernel, ratio] = found

    def _forms(self) -> Iterator[tuple[int, int, int]]:
        """Each (unit, kernel, expand ratio) of a block that the space has."""
        for unit, kernels in enumerate(self.space.kernels):
            for kernel, ratio in itertools.product(kernels, self.space.expand_ratios):
                yield unit, kernel, ratio

    def _fastest_at(self, resolution: int) -> Architecture | None:
        units = [self._fastest_unit(resolution, unit) for unit in range(len(self.space.kernels))]
        if not np.isfinite(self._ends[resolution] + sum(ms for ms, *_ in units)):
            return None
        return Architecture(
            depths=tuple(len(kernels) for _, kernels, _ in units),
            resolution=resolution,
            kernels=_joined(k for _, k, _ in units) if self.space.elastic_kernels else (),
            expand_ratios=() if self.space.compound else _joined(r for *_, r in units),
        )

    def _fastest_unit(self, resolution: int, unit: int) -> tuple[float, _Choices, _Choices]:
        """The least that a unit takes, and the kernels and expand ratios that do."""
        choices, times = self.space.choices, self._blocks[resolution, unit]
        forms = []
        for depth in choices.depths:
            each = [
                min(
                    (times[slot, kernel, ratio], kernel, ratio)
                    for kernel in choices.kernels[unit]
                    for ratio in choices.ratios(depth)
                )
                for slot in range(depth)
            ]
            total, kernels, ratios = zip(*each, strict=True)
            forms.append((float(sum(total)), kernels, ratios))
        return min(forms)


def _joined(parts: Iterable[_Choices]) -> _Choices:
    return tuple(itertools.chain.from_iterable(parts))
