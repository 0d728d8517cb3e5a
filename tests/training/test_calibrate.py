"""Calibration: frozen statistics reproduce batch norm on the images they were measured on."""

from __future__ import annotations

import copy
import random

import pytest
import torch
from torch import Tensor

from supernet.design_space import DesignSpace
from supernet.extract import extract, pieces
from supernet.manifest import Preprocessing
from supernet.model import Supernet
from supernet.normalization import (
    PieceAffine,
    PieceNorm,
    SharedStatistics,
    SubnetStatistics,
    UncalibratedError,
)
from supernet.presets import design_space
from supernet.skeleton import UnitVariant
from training.calibrate import average_affines, calibrate, calibrate_from
from training.images.augment import Transform
from training.images.memory import Images, MemorySource
from training.randomness import torch_generator


def test_calibrated_subnets_equal_batch_norm_on_the_calibration_batch(space: DesignSpace) -> None:
    torch.manual_seed(0)
    supernet = Supernet(space).requires_grad_(False)
    x = torch.randn(16, 1, 12, 12)
    archs = [arch for arch in space.enumerate() if arch.resolution == 12]
    expected = {arch: supernet(x, arch) for arch in archs}
    calibrate(supernet, [x], archs)
    for arch in archs:
        torch.testing.assert_close(supernet(x, arch), expected[arch], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(extract(supernet, arch)(x), supernet(x, arch))
    with pytest.raises(UncalibratedError, match="calibrate this subnet first"):
        supernet(torch.randn(2, 1, 16, 16), space.largest.at(16))


def test_calibrating_one_more_resolution_keeps_the_first(space: DesignSpace) -> None:
    torch.manual_seed(0)
    supernet = Supernet(space).requires_grad_(False)
    small, large = space.smallest.at(12), space.smallest.at(16)
    x = torch.randn(8, 1, 12, 12)
    calibrate(supernet, [x], [small])
    before = supernet(x, small)
    calibrate(supernet, [torch.randn(8, 1, 16, 16)], [large])
    assert torch.equal(supernet(x, small), before)
    assert supernet(torch.randn(1, 1, 16, 16), large).shape == (1, 10)


def test_folded_net_has_nothing_to_calibrate(folded_supernet: Supernet) -> None:
    with pytest.raises(ValueError, match="no batch-norm statistics"):
        calibrate(folded_supernet, [torch.randn(2, 1, 12, 12)], [])


def test_average_affines_reach_every_piece(space: DesignSpace) -> None:
    torch.manual_seed(0)
    supernet = Supernet(space).requires_grad_(False)
    batches = [torch.randn(8, 1, 12, 12), torch.randn(8, 1, 16, 16)]
    average_affines(supernet, batches, random.Random(0))
    assert isinstance(supernet.normalization, PieceAffine)
    assert len(pieces(supernet)) == 2 + len(space.unit_variants())


def test_all_243_subnets_take_363_unit_evaluations(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over the prefix trie: 3 + 9 + 27 + 81 + 243, where one after another takes 5 * 243."""
    space = design_space("fashion-mnist-mbv3")
    supernet = Supernet(space).requires_grad_(False)
    runs = 0

    def counted(x: Tensor, variant: UnitVariant, norm: PieceNorm) -> Tensor:
        nonlocal runs
        runs += 1
        return Supernet.run_unit(supernet, x, variant, norm)

    monkeypatch.setattr(supernet, "run_unit", counted)
    archs = [arch for arch in space.enumerate() if arch.resolution == 20]
    calibrate(supernet, [torch.randn(2, 1, 20, 20)], archs)
    assert (len(archs), runs) == (243, 363)


def test_calibrating_from_a_source_takes_the_same_images_for_every_subnet(
    space: DesignSpace, images: Images
) -> None:
    torch.manual_seed(0)
    source = MemorySource(images, Transform(Preprocessing(mean=(0.2,), std=(0.3,))))
    supernet = Supernet(space).requires_grad_(False)
    expected = copy.deepcopy(supernet)
    done: list[int] = []
    calibrate_from(supernet, source, seed=3, images=60, advance=done.append)
    assert sum(done) == 60 * len(space.resolutions)
    chosen = torch.randperm(200, generator=torch_generator(3, "calibrate"))[:60]
    for arch in (space.smallest, space.largest):
        x = source.transform(images.pixels[chosen], arch.resolution)
        torch.testing.assert_close(supernet(x, arch), expected(x, arch), rtol=1e-4, atol=1e-5)


def test_statistics_of_subnets_take_the_place_of_shared_ones(space: DesignSpace) -> None:
    supernet = Supernet(space, SharedStatistics()).requires_grad_(False)
    x = torch.randn(8, 1, 12, 12)
    calibrate(supernet, [x], [space.smallest.at(12)])
    assert isinstance(supernet.normalization, SubnetStatistics)
    assert supernet(x, space.smallest.at(12)).isfinite().all()
