"""What subnets are made of, for timing: each part once, however many subnets share it.

How long a part takes depends on its shape and not on its numbers. So parts serve nets that are not
folded too, whose normalisation differs from subnet to subnet: each is taken from the first that
has it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from supernet.architecture import Architecture
from supernet.block_keys import unit_sizes
from supernet.extract import extract, piece_names
from supernet.mobilenet import MobileNetSkeleton
from supernet.model import Supernet
from training.evaluate import check_calibrated

if TYPE_CHECKING:
    from training.profiles.portable.plan import Net

Shape = tuple[int, ...]


class Parts:
    """The parts of `archs` as plain modules, by name. Raises `UncalibratedError` where one is
    only in subnets without statistics."""

    def __init__(self, supernet: Supernet, archs: Iterable[Architecture]) -> None:
        self._space = supernet.space
        self._unit_of: dict[str, int] = {}
        self.modules: dict[str, nn.Module] = {}
        for arch in archs:
            self._add(supernet, arch)

    def _add(self, supernet: Supernet, arch: Architecture) -> None:
        names = piece_names(supernet, arch)
        if self.modules.keys() >= set(names):
            return
        check_calibrated(supernet, [arch])
        for unit, (name, part) in enumerate(zip(names, extract(supernet, arch), strict=True), -1):
            self.modules.setdefault(name, part)
            self._unit_of[name] = unit

    def chain(self, names: Iterable[str]) -> list[nn.Module]:
        """The parts with these names, one after another."""
        return [self.modules[name] for name in names]

    def input_shape(self, net: Net, batch_size: int) -> Shape:
        """What the first part of a chain takes, batch first."""
        resolution, (first, *_) = net
        skeleton, unit = self._space.skeleton, self._unit_of[first]
        _, *form = skeleton.piece_input(first)
        size = resolution
        if isinstance(skeleton, MobileNetSkeleton) and unit >= 0:
            size = unit_sizes(skeleton, resolution)[unit]
        return (batch_size, *(size if n == -1 else n for n in form))

    def example(self, net: Net, batch_size: int) -> Tensor:
        """What a chain may be timed with."""
        shape, inputs = self.input_shape(net, batch_size), self._space.skeleton.inputs
        if inputs.kind == "tokens" and net[1][0] == "stem":
            return torch.randint(inputs.vocabulary, shape, generator=_seeded(shape))
        return noise(shape)


def noise(shape: Shape) -> Tensor:
    """A seeded input: zeros could be quicker than what a net meets."""
    return torch.randn(shape, generator=_seeded(shape))


def _seeded(shape: Shape) -> torch.Generator:
    return torch.Generator().manual_seed(math.prod(shape))
