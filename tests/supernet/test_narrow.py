"""A narrowed net computes what its architecture did, and holds nothing else."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable

import pytest
import torch
from torch import Tensor

from supernet.architecture import Architecture
from supernet.complexity import complexity
from supernet.design_space import DesignSpace
from supernet.extract import extract, pieces
from supernet.model import Supernet
from supernet.narrow import narrow
from supernet.normalization import PieceAffine, SubnetStatistics, UncalibratedError
from supernet.presets import design_space

CalibrateRandomly = Callable[[DesignSpace, Iterable[Architecture]], Supernet]
FoldRandomly = Callable[[DesignSpace], Supernet]
ShareRandomly = Callable[[DesignSpace], Supernet]

PRESETS = ("fashion-mnist-mbv3", "fashion-mnist-mbv3-elastic", "fashion-mnist-mbv3-ofa")


def images(space: DesignSpace, batch: int = 3) -> Tensor:
    resolution = space.resolutions[0]
    return torch.randn(batch, *space.skeleton.inputs.shape(resolution))


def assert_same(supernet: Supernet, arch: Architecture) -> Supernet:
    """`narrow` gives the same logits, kind of normalisation, and only the weights of `arch`."""
    x, narrowed = images(supernet.space), narrow(supernet, arch)
    expected = supernet(x, arch)
    torch.testing.assert_close(narrowed(x, arch), expected, atol=1e-6, rtol=1e-6)
    assert type(narrowed.normalization) is type(supernet.normalization)
    shared = [p for name, p in narrowed.named_parameters() if not name.startswith("normalization")]
    held = sum(p.numel() for p in shared)
    assert held == complexity(supernet.space, arch).parameters
    return narrowed


@pytest.mark.parametrize("preset", PRESETS)
def test_of_statistics_per_subnet_it_keeps_those_on_the_path(
    calibrate_randomly: CalibrateRandomly, preset: str
) -> None:
    space, rng = design_space(preset), random.Random(3)
    archs = [space.sample(rng, resolution=space.resolutions[0]) for _ in range(3)]
    supernet = calibrate_randomly(space, archs)
    for arch in archs:
        kept, alone = (
            net.normalization
            for net in (assert_same(supernet, arch), calibrate_randomly(space, [arch]))
        )
        assert isinstance(kept, SubnetStatistics)
        assert isinstance(alone, SubnetStatistics)
        assert kept.tensors().keys() == alone.tensors().keys()
    with pytest.raises(UncalibratedError, match=f"{space.smallest.id}: calibrate it first"):
        narrow(supernet, space.smallest)


@pytest.mark.parametrize("preset", PRESETS)
def test_of_shared_statistics_it_keeps_the_first_channels(
    share_randomly: ShareRandomly, preset: str
) -> None:
    space, rng = design_space(preset), random.Random(4)
    supernet = share_randomly(space)
    for _ in range(2):
        assert_same(supernet, space.sample(rng, resolution=space.resolutions[0]))


def test_of_affines_it_keeps_its_seven_pieces(fold_randomly: FoldRandomly) -> None:
    supernet = fold_randomly(design_space(PRESETS[0]))
    arch = Architecture.parse("d2-3-4-2-3@20")
    narrowed = assert_same(supernet, arch)
    assert isinstance(narrowed.normalization, PieceAffine)
    assert len(pieces(narrowed)) == 7
    x = images(supernet.space)
    torch.testing.assert_close(extract(narrowed, arch)(x), supernet(x, arch), atol=1e-5, rtol=1e-5)


def test_a_net_in_training_stays_one(space: DesignSpace) -> None:
    supernet = Supernet(space).requires_grad_(False)
    assert_same(supernet, Architecture.parse("d2-3@12"))


def test_it_owns_its_weights(fold_randomly: FoldRandomly, space: DesignSpace) -> None:
    supernet, x = fold_randomly(space), images(space)
    narrowed = narrow(supernet, space.smallest)
    before = narrowed(x, space.smallest)
    for tensor in supernet.parameters():
        tensor.zero_()
    assert torch.equal(narrowed(x, space.smallest), before)


def test_it_knows_no_other_architecture(folded_supernet: Supernet) -> None:
    narrowed = narrow(folded_supernet, Architecture.parse("d2-3@12"))
    with pytest.raises(ValueError, match=r"d2-2@12: expected d2-3@12, which is all there is"):
        narrowed(torch.zeros(1, 1, 12, 12), Architecture.parse("d2-2@12"))
