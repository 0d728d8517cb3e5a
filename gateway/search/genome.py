"""The choices of a design space as rows of small numbers, which evolution mixes and redraws.

A row has a number for every slot of every unit; those past a unit's depth are kept, and count
again when the unit grows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from supernet.design_space import DesignSpace
from supernet.population import Population

Genes = NDArray[np.uint8]
"""[N, G]: which of its options each choice takes."""


class Genome:
    """The choices of `space` at the given resolutions: depths, kernels, expand ratios, resolution.

    `options` [G] says how many each has: one where the space leaves nothing open. Raises
    `ValueError` for a space of a single architecture.
    """

    def __init__(self, space: DesignSpace, resolutions: Sequence[int]) -> None:
        if space.only is not None:
            raise ValueError(f"design space {space.name!r} has one architecture: nothing to search")
        self.space, self.resolutions = space, tuple(resolutions)
        self._units, self._slots = len(space.kernels), max(space.depths)
        self._values = [np.array(v) for v in (space.depths, space.expand_ratios, resolutions)]
        most = max(map(len, space.kernels))
        self._kernels = np.array([sizes + (0,) * (most - len(sizes)) for sizes in space.kernels])
        blocks = self._units * self._slots
        self.options = np.array(
            [len(space.depths)] * self._units
            + [len(sizes) for sizes in space.kernels for _ in range(self._slots)]
            + [1 if space.compound else len(space.expand_ratios)] * blocks
            + [len(self.resolutions)]
        )
        self._ends = np.cumsum([self._units, blocks, blocks])

    @property
    def none(self) -> Genes:
        """No rows: [0, G]."""
        return np.empty((0, len(self.options)), np.uint8)

    def random(self, rng: np.random.Generator, rows: int) -> Genes:
        """Rows with every choice uniform."""
        drawn: Genes = (rng.random((rows, len(self.options))) * self.options).astype(np.uint8)
        return drawn

    def population(self, genes: Genes) -> Population:
        """The architectures that rows stand for."""
        depth, kernel, ratio, resolution = np.split(genes, self._ends, axis=1)
        shape = len(genes), self._units, self._slots
        depths, ratios, resolutions = self._values
        there = np.arange(self._slots) < depths[depth][..., None]
        unit = np.arange(self._units)[:, None]
        widths = depth[..., None] if self.space.compound else ratio.reshape(shape)
        return Population(
            self.space,
            depths[depth],
            self._kernels[unit, kernel.reshape(shape)] * there,
            ratios[widths] * there,
            resolutions[resolution[:, 0]],
        )

    def genes(self, population: Population) -> Genes:
        """Rows that stand for architectures of the space, at resolutions that are among these."""
        depths, ratios, resolutions = self._values
        chosen = [
            population.depths[..., None] == depths,
            population.kernels[..., None] == self._kernels[:, None],
            (population.expand_ratios[..., None] == ratios) & (not self.space.compound),
            population.resolutions[:, None, None] == resolutions,
        ]
        options = [match.argmax(-1) for match in chosen]
        rows = [o.reshape(len(population), math.prod(o.shape[1:])) for o in options]
        return np.concatenate(rows, axis=1).astype(np.uint8)
