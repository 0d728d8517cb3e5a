"""The processes that train one net together under torchrun: who I am, and sums over all.

Gradients are averaged once a step over one flat buffer. `DistributedDataParallel` would hook
into each backward instead, of which a step has as many as it has subnets.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor
from torch import distributed as dist

Part = TypeVar("Part")


@dataclass(frozen=True, slots=True)
class Processes:
    """This process's place among `count`. Without torchrun: the only one."""

    rank: int = 0
    count: int = 1

    @property
    def is_first(self) -> bool:
        """The one that writes files and talks."""
        return self.rank == 0

    def own(self, parts: Sequence[Part]) -> Sequence[Part]:
        """This process's consecutive share of `parts`, whose number `count` divides."""
        share = len(parts) // self.count
        return parts[self.rank * share : (self.rank + 1) * share]

    def summed(self, tensors: Sequence[Tensor | None]) -> list[Tensor | None]:
        """Each tensor summed over all processes; the same ones are None in all of them."""
        present = [t for t in tensors if t is not None]
        if self.count == 1 or not present:
            return list(tensors)
        flat = torch.cat([t.flatten() for t in present])
        try:
            dist.all_reduce(flat)
        except RuntimeError:
            raise ConnectionError("another of the training processes has ended") from None
        parts = iter(torch.split(flat, [t.numel() for t in present]))
        return [None if t is None else next(parts).view(t.shape) for t in tensors]


@contextmanager
def processes(device: torch.device) -> Iterator[Processes]:
    """Joins the others that torchrun has started, by its environment variables."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Processes()
        return
    # Loss and accuracy are summed on the CPU, gradients where they are.
    dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    try:
        yield Processes(dist.get_rank(), count)
    finally:
        dist.destroy_process_group()


def local_device(kind: str) -> torch.device:
    """The device of this process: with torchrun on CUDA, each process has its own."""
    if kind == "cuda":
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
        return device
    return torch.device(kind)
