"""Many architectures at once, as arrays: what looks at thousands of them does so in one step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from supernet.architecture import Architecture
from supernet.design_space import DesignSpace

Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Population:
    """N architectures of a space with U units of at most S blocks.

    `depths` [N, U] and `resolutions` [N]; `kernels` and `expand_ratios` [N, U, S] hold what each
    block has, whether it is free or not, and 0 in the slots past a unit's depth.
    """

    space: DesignSpace
    depths: Integers
    kernels: Integers
    expand_ratios: Integers
    resolutions: Integers

    @classmethod
    def of(cls, space: DesignSpace, archs: Sequence[Architecture]) -> Population:
        """Raises `ValueError` for an architecture that is not of the space."""
        units, slots = space.skeleton.unit_count, max(space.depths)
        kernels, ratios = np.zeros((2, len(archs), units, slots), np.int64)
        for i, arch in enumerate(archs):
            space.check(arch)
            for variant in space.variants(arch):
                kernels[i, variant.unit, : variant.depth] = variant.kernels
                ratios[i, variant.unit, : variant.depth] = variant.expand_ratios
        depths = np.array([arch.depths for arch in archs], np.int64).reshape(-1, units)
        return cls(space, depths, kernels, ratios, np.array([a.resolution for a in archs], int))

    def __len__(self) -> int:
        return len(self.resolutions)

    def identities(self) -> list[bytes]:
        """The same bytes where, and only where, two architectures are the same."""
        parts = self.kernels, self.expand_ratios, self.resolutions
        rows = [part.reshape(len(self), math.prod(part.shape[1:])) for part in parts]
        joined = np.column_stack(rows).astype(np.uint16)
        whole = np.dtype((np.void, joined.shape[1] * joined.itemsize))
        found: list[bytes] = joined.view(whole)[:, 0].tolist()
        return found

    def architecture(self, index: int) -> Architecture:
        """One of them as a value."""
        kernels, ratios = (values[index] for values in (self.kernels, self.expand_ratios))
        return Architecture(
            depths=tuple(self.depths[index].tolist()),
            resolution=int(self.resolutions[index]),
            kernels=tuple(kernels[kernels > 0].tolist()) if self.space.elastic_kernels else (),
            expand_ratios=() if self.space.compound else tuple(ratios[ratios > 0].tolist()),
        )
