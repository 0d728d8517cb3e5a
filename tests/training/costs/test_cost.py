"""MACs of a step against numbers worked out by hand."""

from __future__ import annotations

import time

from supernet.architecture import Architecture
from supernet.complexity import complexity
from supernet.design_space import DesignSpace
from supernet.presets import design_space
from training.costs.cost import forward_macs, step_macs

# The tiny space at 16 pixels; the stem's stride makes them 8x8, unit 2's makes them 4x4.
STEM = 1 * 8 * 9 * 64 + 8 * 9 * 64 + 8 * 8 * 64
UNIT_1_OF_DEPTH_2 = 2 * (8 * 24 * 64 + 24 * 9 * 64 + 24 * 8 * 64)
UNIT_2_OF_DEPTH_2 = (
    (8 * 24 * 64 + 24 * 25 * 16 + 24 * 16 * 16 + 2 * 24 * 8)  # expand, depthwise, point, SE
    + (16 * 48 * 16 + 48 * 25 * 16 + 48 * 16 * 16 + 2 * 48 * 16)
)  # fmt: skip
UNIT_2_OF_DEPTH_3 = (
    (8 * 32 * 64 + 32 * 25 * 16 + 32 * 16 * 16 + 2 * 32 * 8)
    + 2 * (16 * 64 * 16 + 64 * 25 * 16 + 64 * 16 * 16 + 2 * 64 * 16)
)  # fmt: skip
HEAD = 16 * 32 * 16 + 32 * 32 + 32 * 10

SMALLEST, DEEPER = Architecture((2, 2), 16), Architecture((2, 3), 16)
SMALLEST_MACS = STEM + UNIT_1_OF_DEPTH_2 + UNIT_2_OF_DEPTH_2 + HEAD
DEEPER_MACS = STEM + UNIT_1_OF_DEPTH_2 + UNIT_2_OF_DEPTH_3 + HEAD


def test_a_subnet_costs_forward_and_twice_that_backward(space: DesignSpace) -> None:
    assert step_macs(space, [SMALLEST]) == 3 * SMALLEST_MACS == 3 * 173_376
    assert step_macs(space, [SMALLEST, DEEPER]) == 3 * (SMALLEST_MACS + DEEPER_MACS)
    assert step_macs(space, [SMALLEST, SMALLEST]) == 6 * SMALLEST_MACS


def test_a_teacher_only_runs_forward(space: DesignSpace) -> None:
    taught = step_macs(space, [SMALLEST], teacher=DEEPER)
    assert taught == 3 * SMALLEST_MACS + DEEPER_MACS


def test_a_teacher_may_come_from_another_space() -> None:
    space, its = design_space("fashion-mnist-mbv3"), design_space("fashion-mnist-mbv3-ofa")
    alone = step_macs(space, [space.smallest])
    taught = step_macs(space, [space.smallest], teacher=its.largest.at(20), teacher_space=its)
    assert taught - alone == complexity(its, its.largest.at(20)).macs


def test_what_subnets_begin_with_in_common_runs_once(space: DesignSpace) -> None:
    once = STEM + UNIT_1_OF_DEPTH_2 + UNIT_2_OF_DEPTH_2 + UNIT_2_OF_DEPTH_3 + 2 * HEAD
    assert step_macs(space, [SMALLEST, DEEPER], share_prefix=True) == 3 * once
    twice = [SMALLEST, DEEPER, SMALLEST]
    assert step_macs(space, twice, share_prefix=True) == 3 * once
    assert step_macs(space, [SMALLEST], share_prefix=True) == 3 * SMALLEST_MACS


def test_only_a_common_beginning_is_shared(space: DesignSpace) -> None:
    apart = [Architecture((2, 2), 16), Architecture((3, 2), 16)]  # the same second unit
    separate = step_macs(space, apart)
    assert step_macs(space, apart, share_prefix=True) == separate - 3 * STEM


def test_all_243_subnets_share_363_units() -> None:
    space = design_space("imagenet-mbv3")
    archs = [arch for arch in space.enumerate() if arch.resolution == 128]
    ratio = step_macs(space, archs) / step_macs(space, archs, share_prefix=True)
    assert 2.0 < ratio < 1215 / 363 + 0.5


def test_it_is_quick_enough_for_every_step() -> None:
    space = design_space("imagenet-mbv3")
    archs = [space.largest, space.smallest, space.largest, space.smallest]
    step_macs(space, archs)
    assert forward_macs(space, space.largest) == complexity(space, space.largest).macs
    began = time.process_time()
    for _ in range(20):
        step_macs(space, archs, teacher=space.largest, share_prefix=True)
    assert (time.process_time() - began) / 20 < 0.005
