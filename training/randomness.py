"""Random numbers that depend only on the seed and on where in the run they are used.

A run that resumes at a step draws what the run that was not interrupted would have drawn,
so a checkpoint need not hold any generator's state.
"""

from __future__ import annotations

import random

import torch


def python_random(seed: int, *place: str | int) -> random.Random:
    """A generator for one place of the run, for instance a phase's name and a step."""
    return random.Random("/".join(map(str, (seed, *place))))


def draw_seed(seed: int, *place: str | int) -> int:
    """A seed [0, 2^63) for one place of the run, to be handed to someone else."""
    return python_random(seed, *place).getrandbits(63)


def torch_generator(seed: int, *place: str | int) -> torch.Generator:
    """The same for tensors."""
    return torch.Generator().manual_seed(draw_seed(seed, *place))
