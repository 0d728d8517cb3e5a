"""Statistics per subnet: what calibration leaves behind in a net that is not folded."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from supernet.architecture import Architecture
from supernet.design_space import DesignSpace
from supernet.extract import extract, pieces
from supernet.model import Supernet
from supernet.normalization import (
    Convolution,
    PieceNorm,
    Position,
    SubnetStatistics,
    UncalibratedError,
)

ARCH = Architecture((2, 3), 12)


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.randn((8, 1, 12, 12), generator=torch.Generator().manual_seed(3))


@pytest.fixture(scope="module")
def in_training(space: DesignSpace) -> Supernet:
    """Random weights, normalised by the batch at hand."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        supernet = Supernet(space).requires_grad_(False)
        for name, tensor in supernet.named_parameters():
            if name.endswith((".gamma", ".beta")):
                tensor.uniform_(0.5, 1.5)
    return supernet


@pytest.fixture(scope="module")
def calibrated(in_training: Supernet, images: Tensor) -> Supernet:
    """The same weights with statistics of `ARCH` alone, measured on `images`."""
    supernet = Supernet(in_training.space, measure(in_training, images)).requires_grad_(False)
    supernet.load_state_dict(in_training.state_dict())
    return supernet


def test_on_its_calibration_images_it_equals_batch_norm(
    in_training: Supernet, calibrated: Supernet, images: Tensor
) -> None:
    expected = in_training(images, ARCH)
    torch.testing.assert_close(calibrated(images, ARCH), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("batch", [1, 3])
def test_extract_equals_elastic_forward(calibrated: Supernet, images: Tensor, batch: int) -> None:
    x = images[:batch]
    subnet = extract(calibrated, ARCH)
    torch.testing.assert_close(subnet(x), calibrated(x, ARCH), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("subnet", ["d3-3@12", "d2-2@12", "d2-3@16"])
def test_an_uncalibrated_subnet_is_refused(calibrated: Supernet, subnet: str) -> None:
    arch = Architecture.parse(subnet)
    with pytest.raises(UncalibratedError, match="calibrate this subnet first"):
        extract(calibrated, arch)
    with pytest.raises(UncalibratedError, match="calibrate this subnet first"):
        calibrated(torch.zeros(1, 1, arch.resolution, arch.resolution), arch)


def test_it_has_no_pieces(calibrated: Supernet) -> None:
    with pytest.raises(ValueError, match="fold it first"):
        pieces(calibrated)


def measure(supernet: Supernet, images: Tensor) -> SubnetStatistics:
    statistics, position = SubnetStatistics(), Position.start(ARCH.resolution)

    def measuring(position: Position) -> PieceNorm:
        def norm(layer: str, conv: Convolution, x: Tensor) -> Tensor:
            var, mean = torch.var_mean(conv(x, conv.weight), (0, 2, 3), correction=0)
            statistics.add(position, layer, mean, var)
            return statistics.at(position)(layer, conv, x)

        return norm

    x = supernet.run_stem(images, measuring(position))
    for variant in supernet.space.variants(ARCH):
        position = position.then(variant.name)
        x = supernet.run_unit(x, variant, measuring(position))
    supernet.run_head(x, measuring(position.then("head")))
    return statistics
