"""How fast this machine trains, measured for a moment before a run. Knows nothing of recipes."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import torch

from supernet.design_space import DesignSpace
from supernet.layers import channels_last, channels_last_images
from supernet.model import Supernet
from training.costs.cost import step_macs

_BATCH_MACS = {"cpu": 4e9, "cuda": 4e12}  # a fraction of a second of work


def training_rate(
    space: DesignSpace,
    *,
    num_threads: int = 1,
    device: torch.device | None = None,
    seconds: float = 1.0,
) -> float:
    """Training MACs a second of the largest subnet, on small batches side by side on threads.

    Smaller subnets are slower for each MAC, and images may have to be waited for, so hours
    worked out from it are a lower bound.
    """
    device = device or torch.device("cpu")
    torch.set_num_threads(1)
    with torch.random.fork_rng():
        supernet = channels_last(Supernet(space)).to(device)
    arch = space.largest
    images = round(_BATCH_MACS[device.type] / step_macs(space, [arch]))
    images = max(2, min(images, 256))
    size = (images, *space.skeleton.inputs.shape(arch.resolution))
    if space.skeleton.inputs.kind == "image":
        x = channels_last_images(torch.zeros(size, device=device))
    else:
        x = torch.zeros(size, dtype=torch.int64, device=device)
    parameters = list(supernet.parameters())

    def step(_: int) -> None:
        torch.autograd.grad(supernet(x, arch).sum(), parameters, allow_unused=True)

    def round_of_steps() -> None:
        list(pool.map(step, range(num_threads)))
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    with ThreadPoolExecutor(num_threads) as pool:
        round_of_steps()  # warms up
        rounds, started = 0, time.perf_counter()
        while time.perf_counter() - started < seconds:
            round_of_steps()
            rounds += 1
        elapsed = time.perf_counter() - started
    return rounds * num_threads * images * step_macs(space, [arch]) / elapsed
