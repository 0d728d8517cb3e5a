"""Spaces with free kernels and ratios: what runs and what is extracted agree."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from supernet.architecture import Architecture
from supernet.design_space import DesignSpace
from supernet.extract import extract
from supernet.importance import sort_channels
from supernet.layers import ElasticConv
from supernet.model import Supernet
from supernet.normalization import BatchNormalization, UncalibratedError
from supernet.presets import design_space

CalibrateRandomly = Callable[[DesignSpace, Iterable[Architecture]], Supernet]
ShareRandomly = Callable[[DesignSpace], Supernet]

ELASTIC = ("fashion-mnist-mbv3-elastic", "fashion-mnist-mbv3-ofa",
           "imagenet-mbv3-elastic", "imagenet-mbv3-ofa-w1.2")  # fmt: skip


def sampled(space: DesignSpace, n: int) -> list[Architecture]:
    """Random architectures at the lowest resolution; two of them share their first units."""
    rng = random.Random(7)
    archs = [space.sample(rng, resolution=space.resolutions[0]) for _ in range(n - 1)]
    last = archs[-1].depths[-1]
    kernels, ratios = archs[-1].kernels, archs[-1].expand_ratios
    changed = (*kernels[:-last], *(7 if k != 7 else 3 for k in kernels[-last:]))
    return [*archs, Architecture(archs[-1].depths, space.resolutions[0], changed, ratios)]


def images(space: DesignSpace, batch: int) -> Tensor:
    resolution = space.resolutions[0]
    generator = torch.Generator().manual_seed(batch)
    shape = (batch, *space.skeleton.inputs.shape(resolution))
    return torch.randn(shape, generator=generator)


def assert_close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("preset", ELASTIC)
def test_elastic_forward_equals_the_extracted_subnet(
    calibrate_randomly: CalibrateRandomly, preset: str
) -> None:
    space = design_space(preset)
    archs = sampled(space, 3)
    supernet, x = calibrate_randomly(space, archs), images(space, 2)
    found = dict(supernet.run_paths(x, x.shape[-1], map(space.variants, archs)))
    assert len(found) == len(archs)
    for arch in archs:
        elastic = supernet(x, arch)
        assert elastic.isfinite().all()
        assert elastic.std() > 1e-2
        assert_close(extract(supernet, arch)(x), elastic)
        assert_close(found[space.variants(arch)], elastic)
    with pytest.raises(UncalibratedError, match="calibrate this subnet first"):
        supernet(x, space.smallest)


@pytest.mark.parametrize("preset", ELASTIC)
def test_shared_statistics_run_every_subnet(share_randomly: ShareRandomly, preset: str) -> None:
    space = design_space(preset)
    supernet, x = share_randomly(space), images(space, 2)
    for arch in [*sampled(space, 3), space.smallest.at(x.shape[-1])]:
        elastic = supernet(x, arch)
        assert elastic.isfinite().all()
        assert_close(extract(supernet, arch)(x), elastic)


@pytest.mark.parametrize("preset", ["fashion-mnist-mbv3-elastic", "fashion-mnist-mbv3-ofa"])
def test_sorting_channels_keeps_what_every_kernel_of_the_widest_net_computes(preset: str) -> None:
    space = design_space(preset)
    torch.manual_seed(0)
    supernet = Supernet(space).requires_grad_(False)
    for name, tensor in supernet.named_parameters():
        if ".transforms." in name:
            tensor.add_(torch.randn_like(tensor), alpha=0.2)
    assert isinstance(supernet.normalization, BatchNormalization)
    x = images(space, 4)
    archs = [
        space.sample(random.Random(seed), expand_ratios=(6,), resolution=x.shape[-1])
        for seed in range(3)
    ]
    before = [supernet(x, arch) for arch in archs]
    narrow_before = supernet(x, space.smallest)
    sort_channels(supernet)
    for arch, expected in zip(archs, before, strict=True):
        torch.testing.assert_close(supernet(x, arch), expected, atol=1e-3, rtol=1e-3)
    assert (supernet(x, space.smallest) - narrow_before).abs().max() > 1e-3


def test_an_untrained_transform_is_the_centre_crop() -> None:
    conv = ElasticConv(4, 4, 7, depthwise=True, kernel_transform=True)
    assert {name: tuple(m.shape) for name, m in conv.transforms.items()} == {
        "5": (25, 25),
        "3": (9, 9),
    }
    for kernel, centre in ((7, slice(0, 7)), (5, slice(1, 6)), (3, slice(2, 5))):
        weight = conv.sliced(3, 3, kernel).weight
        assert torch.equal(weight, conv.weight[:3, :, centre, centre])


def test_a_transform_goes_from_7_to_5_to_3() -> None:
    conv = ElasticConv(4, 4, 7, depthwise=True, kernel_transform=True).requires_grad_(False)
    to5, to3 = torch.randn(25, 25), torch.randn(9, 9)
    conv.transforms["5"].copy_(to5)
    conv.transforms["3"].copy_(to3)
    for channel in range(3):
        five = (to5 @ conv.weight[channel, 0, 1:6, 1:6].reshape(25)).view(5, 5)
        three = (to3 @ five[1:4, 1:4].reshape(9)).view(3, 3)
        assert_close(conv.sliced(3, 3, 7).weight[channel, 0], conv.weight[channel, 0])
        assert_close(conv.sliced(3, 3, 5).weight[channel, 0], five)
        assert_close(conv.sliced(3, 3, 3).weight[channel, 0], three)


def test_a_transform_learns() -> None:
    conv = ElasticConv(4, 4, 7, depthwise=True, kernel_transform=True)
    sliced = conv.sliced(4, 4, 3)
    loss = F.conv2d(torch.randn(1, 4, 8, 8), sliced.weight, padding=1, groups=4).square().sum()
    for gradient in torch.autograd.grad(loss, list(conv.transforms.values())):
        assert gradient.abs().sum() > 0
