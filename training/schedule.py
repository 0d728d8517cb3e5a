"""What happens at which step: learning rate, resolution, subnets, images."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from supernet.architecture import Architecture
from supernet.design_space import DesignSpace
from training.randomness import python_random, torch_generator
from training.recipe import Phase, Recipe


def steps_per_epoch(recipe: Recipe, train_images: int) -> int:
    """Whole batches in one pass; the last, partial one is left out."""
    return max(1, train_images // recipe.batch_size)


def phase_steps(recipe: Recipe, phase: Phase, train_images: int) -> int:
    return max(1, round(phase.epochs * steps_per_epoch(recipe, train_images)))


def learning_rate(phase: Phase, step: int, steps: int) -> float:
    """Linear warm-up to the peak, then a cosine to zero."""
    position = (step + 0.5) / steps
    if position < phase.warmup:
        return phase.learning_rate * position / phase.warmup
    along = (position - phase.warmup) / (1.0 - phase.warmup)
    return phase.learning_rate * 0.5 * (1.0 + math.cos(math.pi * along))


def sampled_subnets(
    recipe: Recipe, phase: Phase, space: DesignSpace, step: int
) -> list[Architecture]:
    """The subnets to train at a step, all at one resolution drawn for the step."""
    rng = python_random(recipe.seed, phase.name, step)
    resolution = rng.choice(space.resolutions)
    depths = phase.depths or space.depths
    archs = []
    for pick in phase.subnets:
        if pick == "random":
            archs.append(space.sample(rng, depths=depths, resolution=resolution))
        else:
            archs.append(getattr(space, pick).at(resolution))
    return archs


def batch_indices(recipe: Recipe, phase: Phase, step: int, train_images: int) -> Tensor:
    """Indices [batch_size] of a step's images: each epoch has an order of its own."""
    epoch, within = divmod(step, steps_per_epoch(recipe, train_images))
    generator = torch_generator(recipe.seed, phase.name, "order", epoch)
    order = torch.randperm(train_images, generator=generator)
    return order[within * recipe.batch_size : (within + 1) * recipe.batch_size]
