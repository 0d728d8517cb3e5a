"""Nets that keep batch-norm statistics, on any space: random weights, measured on random images."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest
import torch
from torch import Tensor, nn

from supernet.architecture import Architecture
from supernet.design_space import DesignSpace
from supernet.model import Supernet
from supernet.normalization import (
    Convolution,
    Normalization,
    PieceNorm,
    Position,
    SharedStatistics,
    SubnetStatistics,
    batch_norm,
)

Record = Callable[[Position, str, Tensor, Tensor], None]
CalibrateRandomly = Callable[[DesignSpace, Iterable[Architecture]], Supernet]
ShareRandomly = Callable[[DesignSpace], Supernet]


class Measuring(Normalization):
    """Normalises by the batch and hands on the mean and variance of each layer."""

    def __init__(self, record: Record) -> None:
        super().__init__()
        self.record = record

    def at(self, position: Position) -> PieceNorm:
        def norm(layer: str, conv: Convolution, x: Tensor) -> Tensor:
            var, mean = torch.var_mean(conv(x, conv.weight), (0, 2, 3), correction=0)
            # What stands after pooling to a single pixel has hardly any variance.
            self.record(position, layer, mean, var.clamp_min(1e-2))
            return batch_norm(layer, conv, x)

        return norm


@pytest.fixture(scope="session")
def calibrate_randomly() -> CalibrateRandomly:
    """Builds a net with random weights and statistics for the given subnets."""

    def build(space: DesignSpace, archs: Iterable[Architecture]) -> Supernet:
        supernet, statistics = random_supernet(space), SubnetStatistics()
        supernet.normalization = Measuring(statistics.add)
        for arch in archs:
            supernet(random_images(space, arch.resolution, 8), arch)
        supernet.normalization = statistics
        return supernet

    return build


@pytest.fixture(scope="session")
def share_randomly() -> ShareRandomly:
    """Builds a net with random weights and the statistics of its largest layers."""

    def build(space: DesignSpace) -> Supernet:
        supernet, statistics = random_supernet(space), SharedStatistics()
        values: dict[str, Tensor] = {}

        def record(position: Position, layer: str, mean: Tensor, var: Tensor) -> None:
            values[f"{position.stored}|{layer}|mean"] = mean
            values[f"{position.stored}|{layer}|var"] = var

        supernet.normalization = Measuring(record)
        resolution = space.resolutions[0]
        units = range(space.skeleton.unit_count)
        stored = [space.full_unit(unit) for unit in units]
        supernet.run_path(random_images(space, resolution, 8), resolution, stored)
        statistics.load(values)
        supernet.normalization = statistics
        return supernet

    return build


def random_supernet(space: DesignSpace) -> Supernet:
    """Everything that training would move is away from where it starts."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        supernet = Supernet(space).eval().requires_grad_(False)
        for name, tensor in supernet.named_parameters():
            if name.endswith((".gamma", ".beta")):
                tensor.uniform_(0.5, 1.5)
            if ".transforms." in name:
                tensor.add_(torch.randn_like(tensor), alpha=0.2)
        nn.init.normal_(supernet.classifier.weight, std=0.3)
    return supernet


def random_images(space: DesignSpace, resolution: int, batch: int) -> Tensor:
    generator = torch.Generator().manual_seed(resolution + batch)
    shape = (batch, *space.skeleton.inputs.shape(resolution))
    return torch.randn(shape, generator=generator)
