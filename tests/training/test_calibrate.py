"""Calibration: frozen statistics reproduce batch norm on the images they were measured on."""

from __future__ import annotations

import random

import pytest
import torch

from supernet.design_space import DesignSpace
from supernet.extract import extract, pieces
from supernet.model import Supernet
from supernet.normalization import PieceAffine, UncalibratedError
from training.calibrate import average_affines, calibrate


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
