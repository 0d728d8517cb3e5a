"""Work by kinds against the counts that `complexity` makes of whole nets, and against a forward."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from supernet.architecture import Architecture
from supernet.complexity import complexity
from supernet.design_space import DesignSpace
from supernet.extract import extract
from supernet.model import Supernet
from supernet.plain import SqueezeGate
from supernet.presets import imagenet_mbv3
from supernet.workload import Workload, workload


@pytest.mark.parametrize("subnet", ["d2-2@12", "d4-3@16", "d3-4@12"])
def test_the_kinds_of_work_are_those_of_the_extracted_net(
    folded_supernet: Supernet, subnet: str
) -> None:
    """Counted while it runs."""
    arch = Architecture.parse(subnet)
    counted = dict.fromkeys(Workload._fields, 0) | {"nets": 1}
    module = extract(folded_supernet, arch)

    def count(layer: nn.Module, _: object, y: torch.Tensor) -> None:
        if isinstance(layer, SqueezeGate):
            counted["gates"] += 1
            counted["activations"] += y.numel()
        elif isinstance(layer, nn.Conv2d):
            depthwise = layer.groups > 1
            macs = layer.weight.numel() * y.shape[2] * y.shape[3]
            counted["depthwise_macs" if depthwise else "dense_macs"] += macs
            counted["weights"] += layer.weight.numel()
            counted["blocks"] += depthwise
        elif isinstance(layer, nn.Linear):
            counted["dense_macs"] += layer.weight.numel()
            counted["weights"] += layer.weight.numel()
        in_gate = any(layer is part for gate in squeezes for part in gate.gate.modules())
        if isinstance(layer, nn.Conv2d | nn.Linear) and not in_gate:
            counted["activations"] += y.numel()

    squeezes = [m for m in module.modules() if isinstance(m, SqueezeGate)]
    for layer in module.modules():
        layer.register_forward_hook(count)
    module(torch.zeros(1, 1, arch.resolution, arch.resolution))
    found = dict(zip(Workload._fields, workload(folded_supernet.space, arch), strict=True))
    assert found == counted


@pytest.mark.parametrize("freedom", ["compound", "elastic"])
def test_macs_are_those_of_the_complexity(freedom: str) -> None:
    space = imagenet_mbv3(freedom)  # type: ignore[arg-type]
    for arch in (space.smallest, space.largest):
        found = Workload(*map(int, workload(space, arch)))
        assert found.dense_macs + found.depthwise_macs == complexity(space, arch).macs
        assert found.blocks == 1 + sum(arch.depths)


def test_a_subnet_of_another_space_is_not_counted(space: DesignSpace) -> None:
    with pytest.raises(ValueError, match="expected 2 depths"):
        workload(space, Architecture.parse("d2-2-2@12"))
