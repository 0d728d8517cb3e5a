"""Exact multiply-accumulates and parameters of a subnet, from shapes alone."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass

from supernet.architecture import Architecture
from supernet.design_space import DesignSpace
from supernet.skeleton import BlockShape, Path, Skeleton, strided


@dataclass(frozen=True, slots=True)
class Complexity:
    """`macs` for one image, convolutions and linear layers, as the field counts them;
    `parameters` with batch-norm scale and shift (a folded net has the same number)."""

    macs: int
    parameters: int

    def __add__(self, other: Complexity) -> Complexity:
        return Complexity(self.macs + other.macs, self.parameters + other.parameters)


def complexity(space: DesignSpace, arch: Architecture) -> Complexity:
    """Cost of `arch` at its resolution. Raises `ValueError` where it is not of `space`."""
    space.check(arch)
    stem, *rest = _pieces(space.skeleton, arch.resolution, space.variants(arch))
    return sum(rest, stem)


@functools.lru_cache(maxsize=2048)
def piece_macs(skeleton: Skeleton, resolution: int, path: Path) -> tuple[int, ...]:
    """MACs for one image of the stem, of each unit on `path`, and of the head, in order."""
    return tuple(piece.macs for piece in _pieces(skeleton, resolution, path))


def piece_parameters(space: DesignSpace) -> dict[str, int]:
    """Parameters of every piece of a space that can be listed, by name. Raises `ValueError`."""
    found = {}
    for variant in space.unit_variants():
        path = tuple(space.full_unit(unit) for unit in range(len(space.skeleton.units)))
        path = (*path[: variant.unit], variant, *path[variant.unit + 1 :])
        costs = list(_pieces(space.skeleton, max(space.resolutions), path))
        found["stem"], found["head"] = costs[0].parameters, costs[-1].parameters
        found[variant.name] = costs[variant.unit + 1].parameters
    return found


def _pieces(skeleton: Skeleton, resolution: int, path: Path) -> Iterator[Complexity]:
    s, size = skeleton, strided(resolution, skeleton.stem_stride)
    stem = _conv(s.in_channels, s.stem_channels, 3, size)
    yield stem + _block(s.first_block, size, expands=False)
    for variant in path:
        unit = Complexity(0, 0)
        for shape in s.blocks(variant):
            unit += _block(shape, size)
            size = strided(size, shape.stride)
        yield unit
    expansion = _conv(s.units[-1].out_channels, s.head_channels, 1, size)
    mix = s.head_channels * s.feature_channels
    classifier = s.feature_channels * s.classes
    yield expansion + Complexity(mix + classifier, mix + classifier + s.classes)


def _conv(in_channels: int, out_channels: int, kernel: int, size: int) -> Complexity:
    weights = in_channels * out_channels * kernel * kernel
    return Complexity(weights * size * size, weights + 2 * out_channels)


def _block(shape: BlockShape, size: int, *, expands: bool = True) -> Complexity:
    mid, out_size = shape.mid_channels, strided(size, shape.stride)
    cost = _conv(1, mid, shape.kernel, out_size) + _conv(mid, shape.out_channels, 1, out_size)
    if expands:
        cost += _conv(shape.in_channels, mid, 1, size)
    if shape.se:
        weights = 2 * mid * shape.se_channels
        cost += Complexity(weights, weights + mid + shape.se_channels)
    return cost
