"""Exact multiply-accumulates and parameters of a subnet, from shapes alone."""

from __future__ import annotations

import functools

from supernet.architecture import Architecture
from supernet.design_space import DesignSpace
from supernet.skeleton import Complexity, Path, Skeleton

__all__ = ["Complexity", "complexity", "piece_macs", "piece_parameters"]


def complexity(space: DesignSpace, arch: Architecture) -> Complexity:
    """Cost of `arch` at its resolution. Raises `ValueError` where it is not of `space`."""
    space.check(arch)
    stem, *rest = space.skeleton.pieces(arch.resolution, space.variants(arch))
    return sum(rest, stem)


@functools.lru_cache(maxsize=2048)
def piece_macs(skeleton: Skeleton, resolution: int, path: Path) -> tuple[int, ...]:
    """MACs for one input of the stem, of each unit on `path`, and of the head, in order."""
    return tuple(piece.macs for piece in skeleton.pieces(resolution, path))


def piece_parameters(space: DesignSpace) -> dict[str, int]:
    """Parameters of every piece of a space that can be listed, by name. Raises `ValueError`."""
    found = {}
    for variant in space.unit_variants():
        path = tuple(space.full_unit(unit) for unit in range(space.skeleton.unit_count))
        path = (*path[: variant.unit], variant, *path[variant.unit + 1 :])
        costs = list(space.skeleton.pieces(max(space.resolutions), path))
        found["stem"], found["head"] = costs[0].parameters, costs[-1].parameters
        found[variant.name] = costs[variant.unit + 1].parameters
    return found
