"""MACs and parameters from shapes equal those of the module that really runs."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
import torch
from torch import nn

from supernet.architecture import Architecture
from supernet.complexity import complexity
from supernet.design_space import DesignSpace
from supernet.extract import extract
from supernet.model import Supernet
from supernet.plain import SqueezeGate
from supernet.presets import design_space

FoldRandomly = Callable[[DesignSpace], Supernet]
ShareRandomly = Callable[[DesignSpace], Supernet]


def executed_macs(module: nn.Module, x: torch.Tensor) -> int:
    """What the convolutions and linear layers of `module` really multiply on `x`, per image."""
    total = 0

    def count(layer: nn.Module, _inputs: object, output: torch.Tensor) -> None:
        nonlocal total
        weight = layer.get_parameter("weight")
        total += weight[0].numel() * output[0].numel()

    handles = [
        layer.register_forward_hook(count)
        for layer in module.modules()
        if isinstance(layer, nn.Conv2d | nn.Linear)
    ]
    module(x)
    for handle in handles:
        handle.remove()
    return total


def parameters(module: nn.Module) -> int:
    """As a folded net has them, plus one number a channel where BN's scale was folded in."""
    total = sum(p.numel() for p in module.parameters())
    gates = {id(m) for gate in module.modules() for m in _gate_layers(gate)}
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d) and layer.bias is not None and id(layer) not in gates:
            total += layer.out_channels
    return total


def _gate_layers(module: nn.Module) -> list[nn.Module]:
    return list(module.modules()) if isinstance(module, SqueezeGate) else []


@pytest.mark.parametrize(
    ("preset", "subnet"),
    [
        ("fashion-mnist-mbv3", "d2-2-2-2-2@20"),
        ("fashion-mnist-mbv3", "d4-4-4-4-4@28"),
        ("fashion-mnist-mbv3", "d2-3-4-2-3@24"),
        ("imagenet-mbv3", "d2-2-2-2-2@128"),
        ("imagenet-mbv3", "d4-3-2-3-4@160"),
        ("imagenet-mbv3-w1.2", "d2-3-4-3-2@128"),
    ],
)
def test_equals_what_the_extracted_module_executes(
    fold_randomly: FoldRandomly, preset: str, subnet: str
) -> None:
    space, arch = design_space(preset), Architecture.parse(subnet)
    module = extract(fold_randomly(space), arch)
    x = torch.zeros(1, *space.skeleton.inputs.shape(arch.resolution))
    expected = complexity(space, arch)
    assert executed_macs(module, x) == expected.macs
    assert parameters(module) == expected.parameters


@pytest.mark.parametrize("preset", ["imagenet-mbv3-ofa", "fashion-mnist-mbv3-elastic"])
def test_holds_for_free_kernels_and_ratios(share_randomly: ShareRandomly, preset: str) -> None:
    space = design_space(preset)
    supernet = share_randomly(space)
    for seed in range(3):
        arch = space.sample(random.Random(seed), resolution=space.resolutions[0])
        module = extract(supernet, arch)
        x = torch.zeros(1, *space.skeleton.inputs.shape(arch.resolution))
        expected = complexity(space, arch)
        assert executed_macs(module, x) == expected.macs
        assert parameters(module) == expected.parameters


def test_equals_what_every_tiny_subnet_executes(folded_supernet: Supernet) -> None:
    space = folded_supernet.space
    for arch in space.enumerate():
        module = extract(folded_supernet, arch)
        x = torch.zeros(1, *space.skeleton.inputs.shape(arch.resolution))
        assert executed_macs(module, x) == complexity(space, arch).macs, arch


def test_imagenet_mbv3_is_the_published_net() -> None:
    space = design_space("imagenet-mbv3")
    stored = sum(p.numel() for p in Supernet(space).parameters())
    assert stored == pytest.approx(7.66e6, rel=1e-2)
    smallest = complexity(space, Architecture.parse("d2-2-2-2-2@224"))
    largest = complexity(space, Architecture.parse("d4-4-4-4-4@224"))
    assert smallest.macs == pytest.approx(124e6, rel=1e-2)
    assert smallest.parameters == pytest.approx(3.43e6, rel=1e-2)
    assert largest.macs == pytest.approx(447e6, rel=1e-2)
    assert largest.parameters == pytest.approx(7.37e6, rel=1e-2)


def test_the_small_preset_stays_small() -> None:
    space = design_space("fashion-mnist-mbv3")
    assert complexity(space, space.largest).macs <= 15e6


def test_a_stranger_is_refused(space: DesignSpace) -> None:
    with pytest.raises(ValueError, match=r"d2-2@13"):
        complexity(space, Architecture.parse("d2-2@13"))
