"""Exact multiply-accumulates and parameters of a subnet, from shapes alone."""

from __future__ import annotations

from dataclasses import dataclass

from supernet.architecture import Architecture
from supernet.design_space import DesignSpace
from supernet.skeleton import BlockShape


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
    s = space.skeleton
    size = _strided(arch.resolution, s.stem_stride)
    total = _conv(s.in_channels, s.stem_channels, 3, size)
    total += _block(s.first_block, size, expands=False)
    for variant in space.variants(arch):
        for shape in space.blocks(variant):
            total += _block(shape, size)
            size = _strided(size, shape.stride)
    total += _conv(s.units[-1].out_channels, s.head_channels, 1, size)
    mix = s.head_channels * s.feature_channels
    classifier = s.feature_channels * s.classes
    return total + Complexity(mix + classifier, mix + classifier + s.classes)


def _strided(size: int, stride: int) -> int:
    return (size - 1) // stride + 1


def _conv(in_channels: int, out_channels: int, kernel: int, size: int) -> Complexity:
    weights = in_channels * out_channels * kernel * kernel
    return Complexity(weights * size * size, weights + 2 * out_channels)


def _block(shape: BlockShape, size: int, *, expands: bool = True) -> Complexity:
    mid, out_size = shape.mid_channels, _strided(size, shape.stride)
    cost = _conv(1, mid, shape.kernel, out_size) + _conv(mid, shape.out_channels, 1, out_size)
    if expands:
        cost += _conv(shape.in_channels, mid, 1, size)
    if shape.se:
        weights = 2 * mid * shape.se_channels
        cost += Complexity(weights, weights + mid + shape.se_channels)
    return cost
