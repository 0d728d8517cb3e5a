"""What happens at which step: learning rate, resolution, subnets, images."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from supernet.architecture import Architecture
from supernet.design_space import DesignSpace
from supernet.presets import design_space
from training.images.data import BatchPlan
from training.randomness import draw_seed, python_random, torch_generator
from training.recipe import Phase, Recipe

CALIBRATION_BATCHES = 24
CALIBRATION_BATCH_SIZE = 256


def steps_per_epoch(recipe: Recipe, train_images: int) -> int:
    """Whole batches in one pass; the last, partial one is left out."""
    return max(1, train_images // recipe.batch_size)


def check_batches(recipe: Recipe, train_images: int, processes: int) -> None:
    """A batch is whole, and micro-batches are what processes share out, as many to each."""
    if recipe.batch_size > train_images:
        raise ValueError(
            f"batch_size: expected at most the {train_images} training images, got "
            f"{recipe.batch_size}"
        )
    for phase in recipe.phases:
        if phase.micro_batches % processes:
            raise ValueError(
                f"phase {phase.name!r}: micro_batches: expected a multiple of the {processes} "
                f"processes, got {phase.micro_batches}"
            )


def phase_steps(recipe: Recipe, phase: Phase, train_images: int) -> int:
    return max(1, round(phase.epochs * steps_per_epoch(recipe, train_images)))


def learning_rate(phase: Phase, step: int, steps: int) -> float:
    """Linear warm-up to the peak, then down to the phase's final rate."""
    position = (step + 0.5) / steps
    if position < phase.warmup:
        return phase.learning_rate * position / phase.warmup
    along = (position - phase.warmup) / (1.0 - phase.warmup)
    left = 1.0 - along if phase.decay == "linear" else 0.5 * (1.0 + math.cos(math.pi * along))
    return phase.final_learning_rate + (phase.learning_rate - phase.final_learning_rate) * left


def loss_weights(phase: Phase, step: int, steps: int) -> list[float]:
    """The weight of each subnet's loss: 1, but less at first for all after the first."""
    rising = (step + 0.5) / (phase.ramp * steps) if phase.ramp else 1.0
    return [1.0] + [min(1.0, rising)] * (len(phase.subnets) - 1)


def phase_space(phase: Phase, own: DesignSpace) -> DesignSpace:
    """The space that a phase draws from: another on the skeleton of the run's `own`, where it
    names one and the run is not of one subnet alone."""
    if phase.design_space is None or own.only is not None:
        return own
    same = {"skeleton": own.skeleton, "resolutions": own.resolutions}
    return design_space(phase.design_space).model_copy(update=same)


def train_resolutions(recipe: Recipe, phase: Phase, space: DesignSpace) -> tuple[int, ...]:
    """The resolutions that the steps of a phase draw from."""
    if space.only is not None:
        return space.resolutions
    return phase.resolutions or recipe.train_resolutions or space.resolutions


def sampled_subnets(
    recipe: Recipe, phase: Phase, space: DesignSpace, step: int
) -> list[Architecture]:
    """The subnets to train at a step, all at one resolution drawn for the step; in a space of
    one architecture, that one once."""
    rng = python_random(recipe.seed, phase.name, step)
    resolution = rng.choice(train_resolutions(recipe, phase, space))
    if space.only is not None:
        return [space.only]
    archs = []
    for pick in phase.subnets:
        if pick == "random":
            arch = space.sample(
                rng,
                depths=phase.depths or None,
                kernels=phase.kernels or None,
                expand_ratios=phase.expand_ratios or None,
                resolution=resolution,
            )
            archs.append(arch)
        else:
            archs.append(getattr(space, pick).at(resolution))
    return archs


def batch_indices(recipe: Recipe, phase: Phase, step: int, train_images: int) -> Tensor:
    """Indices [batch_size] of a step's images: each epoch has an order of its own."""
    epoch, within = divmod(step, steps_per_epoch(recipe, train_images))
    order = _order(recipe.seed, phase.name, epoch, train_images)
    return order[within * recipe.batch_size : (within + 1) * recipe.batch_size]


@functools.lru_cache(maxsize=2)  # of a million images it would otherwise cost more than the step
def _order(seed: int, phase: str, epoch: int, train_images: int) -> Tensor:
    generator = torch_generator(seed, phase, "order", epoch)
    return torch.randperm(train_images, generator=generator)


def batch_plans(
    recipe: Recipe, phase: Phase, step: int, resolution: int, train_images: int
) -> list[BatchPlan]:
    """A step's batch as its micro-batches, each augmented by a seed of its own, so that it does
    not matter which process loads it."""
    indices = batch_indices(recipe, phase, step, train_images)
    return [
        BatchPlan(part, resolution, draw_seed(recipe.seed, phase.name, "augment", step, i))
        for i, part in enumerate(indices.chunk(phase.micro_batches))
    ]


def calibration_plans(
    recipe: Recipe, phase: Phase, resolutions: Sequence[int], train_images: int
) -> list[BatchPlan]:
    """Augmented images, the same at each start of the phase, to measure statistics on."""
    generator = torch_generator(recipe.seed, phase.name, "calibration")
    size = min(CALIBRATION_BATCH_SIZE, train_images)
    return [
        BatchPlan(
            torch.randint(train_images, (size,), generator=generator),
            resolutions[i % len(resolutions)],
            draw_seed(recipe.seed, phase.name, "calibration", i),
        )
        for i in range(CALIBRATION_BATCHES)
    ]
