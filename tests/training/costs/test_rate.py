"""The measured training rate is that of the machine, not a constant."""

from __future__ import annotations

import time

import torch

from supernet.design_space import DesignSpace
from supernet.model import Supernet
from training.costs.cost import step_macs
from training.costs.rate import training_rate


def test_agrees_with_timing_steps_by_hand(space: DesignSpace) -> None:
    rate = training_rate(space, seconds=0.2)
    supernet, arch = Supernet(space), space.largest
    x = torch.zeros(32, 1, arch.resolution, arch.resolution)
    supernet(x, arch).sum().backward()
    began = time.perf_counter()
    for _ in range(10):
        supernet(x, arch).sum().backward()
    by_hand = 10 * 32 * step_macs(space, [arch]) / (time.perf_counter() - began)
    assert by_hand / 20 < rate < by_hand * 20  # the machine may be busy with other things
