"""What a subnet gives a device to do, from shapes alone: work of several kinds, not yet time.

Devices differ in what each kind costs them, so latencies of one can be told from latencies of
another by a few measurements (see `supernet.transfer`).
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from supernet.architecture import Architecture
from supernet.block_keys import unit_sizes
from supernet.complexity import complexity
from supernet.design_space import DesignSpace
from supernet.mobilenet import BlockShape, MobileNetSkeleton, strided
from supernet.skeleton import UnitVariant


class Workload(NamedTuple):
    """For one image: how many nets, blocks and squeeze-and-excitation gates are started, MACs of
    dense and of depthwise convolutions, activations that are written, and weights that are read.
    """

    nets: int = 0
    blocks: int = 0
    gates: int = 0
    dense_macs: int = 0
    depthwise_macs: int = 0
    activations: int = 0
    weights: int = 0


def workload(space: DesignSpace, arch: Architecture) -> NDArray[np.float64]:
    """The fields of a `Workload`, in order. Raises `ValueError` where `arch` is not of `space`."""
    space.check(arch)
    skeleton = space.skeleton
    if not isinstance(skeleton, MobileNetSkeleton):
        return _row(_in_all(space, arch))
    sizes = unit_sizes(skeleton, arch.resolution)
    total = _ends(skeleton, arch.resolution)
    for variant, size in zip(space.variants(arch), sizes, strict=False):
        total = total + _unit(skeleton, variant, size)
    return total


def _in_all(space: DesignSpace, arch: Architecture) -> Workload:
    """Of a family whose layers are all of one kind."""
    cost = complexity(space, arch)
    layers = sum(arch.depths)
    return Workload(nets=1, blocks=layers, dense_macs=cost.macs, weights=cost.parameters)


@functools.lru_cache(maxsize=1024)
def _ends(s: MobileNetSkeleton, resolution: int) -> NDArray[np.float64]:
    """Stem, head, and that there is a net at all."""
    first, *_, last = unit_sizes(s, resolution)
    total = _row(Workload(nets=1)) + _dense(s.in_channels * 9, s.stem_channels, first)
    total = total + _block(s.first_block, first, expands=False)
    if s.final_block:
        total = total + _block(s.final_block, last)
    total = total + _dense(s.head_in_channels, s.head_channels, last)
    if s.feature_channels:
        total = total + _dense(s.head_channels, s.feature_channels, 1)
    return total + _dense(s.classifier_channels, s.classes, 1)


@functools.lru_cache(maxsize=4096)
def _unit(s: MobileNetSkeleton, variant: UnitVariant, size: int) -> NDArray[np.float64]:
    total = _row(Workload())
    for shape in s.blocks(variant):
        total = total + _block(shape, size)
        size = strided(size, shape.stride)
    return total


def _block(shape: BlockShape, size: int, *, expands: bool = True) -> NDArray[np.float64]:
    mid, after = shape.mid_channels, strided(size, shape.stride)
    area, window = after * after, mid * shape.kernel**2
    total = _row(Workload(
        blocks=1, depthwise_macs=window * area, activations=mid * area, weights=window
    )) + _dense(mid, shape.out_channels, after)  # fmt: skip
    if expands:
        total = total + _dense(shape.in_channels, mid, size)
    if shape.se:
        weights = 2 * mid * shape.se_channels
        total = total + _row(
            Workload(gates=1, dense_macs=weights, activations=mid * area, weights=weights)
        )
    return total


def _dense(inputs: int, outputs: int, size: int) -> NDArray[np.float64]:
    """A convolution that mixes channels, `size` x `size` after it."""
    area, weights = size * size, inputs * outputs
    return _row(Workload(dense_macs=weights * area, activations=outputs * area, weights=weights))


def _row(work: Workload) -> NDArray[np.float64]:
    return np.array(work, np.float64)
