"""Sorting channels changes which are kept first, never what the whole net computes."""

from __future__ import annotations

import copy

import pytest
import torch

from supernet.design_space import DesignSpace
from supernet.importance import sort_channels
from supernet.model import Supernet


@pytest.fixture
def supernet(space: DesignSpace) -> Supernet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        supernet = Supernet(space).requires_grad_(False)
        for name, tensor in supernet.named_parameters():
            if name.endswith((".gamma", ".beta")):
                tensor.uniform_(0.5, 1.5)
    return supernet


def test_the_largest_subnet_computes_the_same(supernet: Supernet) -> None:
    arch = supernet.space.largest
    shape = (4, 1, arch.resolution, arch.resolution)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(4))
    before = supernet(x, arch)
    narrow_before = supernet(x, supernet.space.smallest.at(arch.resolution))
    sort_channels(supernet)
    torch.testing.assert_close(supernet(x, arch), before, atol=1e-4, rtol=1e-4)
    narrow_after = supernet(x, supernet.space.smallest.at(arch.resolution))
    assert (narrow_after - narrow_before).abs().max() > 1e-4


def test_the_first_channels_weigh_most(supernet: Supernet) -> None:
    sort_channels(supernet)
    projections = [p for name, p in supernet.named_parameters() if name.endswith("project.weight")]
    for weight in projections[1:]:  # the first is of the static block
        assert (weight.abs().sum((0, 2, 3)).diff() <= 0).all()


def test_sorting_twice_changes_nothing_more(supernet: Supernet) -> None:
    sort_channels(supernet)
    once = copy.deepcopy(supernet.state_dict())
    sort_channels(supernet)
    for name, tensor in supernet.state_dict().items():
        assert torch.equal(tensor, once[name]), name
