"""What a training step costs, in MACs of one image: forward 1, backward 2, a teacher's forward 1.

The ledger counts with `step_macs`; `training.costs.expectation` says what it is on average.
Calibration and evaluation are not training and are not counted.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

from supernet.architecture import Architecture
from supernet.complexity import piece_macs
from supernet.design_space import DesignSpace
from supernet.skeleton import Path, Skeleton
from training.schedule import CALIBRATION_BATCH_SIZE, CALIBRATION_BATCHES

TRAINING_FACTOR = 3
"""A forward, a backward to the activations and one to the weights."""


def step_macs(
    space: DesignSpace,
    archs: Sequence[Architecture],
    *,
    teacher: Architecture | None = None,
    teacher_space: DesignSpace | None = None,
    share_prefix: bool = False,
) -> int:
    """MACs of one image in a step that trains `archs`, all of one resolution.

    With `share_prefix` what subnets begin with in common runs once, and so does a subnet that is
    listed twice. `teacher` is a net of its own, of `teacher_space` where that is not `space`;
    a subnet that teaches the others of its step costs nothing more.
    """
    paths = [space.variants(arch) for arch in archs]
    resolution = archs[0].resolution
    if share_prefix:
        trained = _shared_macs(space.skeleton, resolution, paths)
    else:
        trained = sum(sum(piece_macs(space.skeleton, resolution, path)) for path in paths)
    taught = forward_macs(teacher_space or space, teacher) if teacher else 0
    return TRAINING_FACTOR * trained + taught


def forward_macs(space: DesignSpace, arch: Architecture) -> int:
    """MACs of one image through `arch`, as `complexity` counts them, but kept for the next call."""
    return sum(piece_macs(space.skeleton, arch.resolution, space.variants(arch)))


def _shared_macs(skeleton: Skeleton, resolution: int, paths: Iterable[Path]) -> int:
    """Each beginning once: the stem, the units by what led to them, and the head of each path."""
    once: dict[tuple[object, ...], int] = {}
    for path in paths:
        stem, *units, head = piece_macs(skeleton, resolution, path)
        once[()] = stem
        once |= {path[: i + 1]: macs for i, macs in enumerate(units)}
        once[*path, "head"] = head
    return sum(once.values())


def fold_start_macs(space: DesignSpace, train_images: int) -> int:
    """What the start of a fold phase costs: its affines are averaged over batches that run through
    subnets in which each unit takes every form once."""
    size = min(CALIBRATION_BATCH_SIZE, train_images)
    resolutions = itertools.islice(itertools.cycle(space.resolutions), CALIBRATION_BATCHES)
    return size * sum(_covering_macs(space, resolution) for resolution in resolutions)


def _covering_macs(space: DesignSpace, resolution: int) -> int:
    """MACs of one image; it does not matter how the forms are put together."""
    if space.only is not None:
        return forward_macs(space, space.only)
    units = space.skeleton.unit_count
    archs = [Architecture((depth,) * units, resolution) for depth in space.depths]
    return sum(forward_macs(space, arch) for arch in archs)
