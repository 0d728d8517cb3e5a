"""Made-up block latencies for every part of a design space, and spaces small enough to list."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator

from supernet.block_keys import end_keys, unit_keys, unit_sizes
from supernet.design_space import DesignSpace
from supernet.latency import Blocks, BlockTime
from supernet.mobilenet import Kernel, MobileNetSkeleton, UnitSpec, mobilenet
from supernet.presets import PRESETS
from supernet.skeleton import UnitVariant

MOBILENETS = sorted(
    name for name, make in PRESETS.items() if isinstance(make().skeleton, MobileNetSkeleton)
)


def every_key(space: DesignSpace, resolution: int) -> Iterator[str]:
    """Each key that some architecture of the space has at a resolution; some of them twice."""
    yield from end_keys(mobilenet(space.skeleton), resolution)
    for unit, size in enumerate(unit_sizes(mobilenet(space.skeleton), resolution)[:-1]):
        for kernel in space.kernels[unit]:
            for ratio in space.expand_ratios:
                variant = UnitVariant(unit, (kernel,) * 2, (ratio,) * 2)
                yield from unit_keys(mobilenet(space.skeleton), variant, size)


def made_up(space: DesignSpace, resolutions: Iterable[int], seed: int = 0) -> Blocks:
    """A time for each key, from 0.1 to 1 ms."""
    rng = random.Random(seed)
    return {
        resolution: {
            key: BlockTime(
                mean=rng.uniform(0.1, 1.0), std=rng.random() / 10, count=rng.randrange(500)
            )
            for key in sorted(set(every_key(space, resolution)))
        }
        for resolution in resolutions
    }


def small_space(
    kernels: tuple[tuple[Kernel, ...], ...], resolutions: tuple[int, ...], *, compound: bool = False
) -> DesignSpace:
    """A unit for each entry of `kernels`, 8 channels each."""
    unit = UnitSpec(out_channels=8, stride=2, activation="relu", se=False, kernel=7)
    return DesignSpace(
        name="small",
        skeleton=MobileNetSkeleton(
            in_channels=3, stem_channels=8, stem_stride=2, first_block_channels=8,
            units=(unit,) * len(kernels), head_channels=8, feature_channels=8, classes=10,
        ),
        depths=(2, 3, 4) if len(kernels) == 5 else (1, 2, 3),
        expand_ratios=(3, 4, 6),
        compound=compound,
        kernels=kernels,
        resolutions=resolutions,
    )  # fmt: skip
