"""The expected MACs of a step: against every draw of small spaces, and against real schedules."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterator
from statistics import fmean, stdev

import pytest

from supernet.architecture import Architecture
from supernet.design_space import DesignSpace
from supernet.presets import design_space
from training.costs.cost import step_macs
from training.costs.expectation import expected_step_macs
from training.recipe import Phase, read_recipe, shipped_recipes
from training.schedule import sampled_subnets, train_resolutions


def _phase(**fields: object) -> Phase:
    return Phase.model_validate({"name": "p", "epochs": 1, "learning_rate": 0.1} | fields)


def _all_draws(space: DesignSpace, phase: Phase, resolution: int) -> Iterator[list[Architecture]]:
    """What a step may train, each as often as it is likely: depths are equally likely, and so
    are a depth's forms; each form is repeated to the least common multiple."""
    units = [_forms(space, phase, unit) for unit in range(len(space.kernels))]
    archs = []
    for forms in itertools.product(*units):
        depths, kernels, ratios = zip(*forms, strict=True)
        arch = Architecture(
            depths,
            resolution,
            kernels=tuple(itertools.chain(*kernels)) if space.elastic_kernels else (),
            expand_ratios=() if space.compound else tuple(itertools.chain(*ratios)),
        )
        space.check(arch)
        archs.append(arch)
    choices = [
        archs if p == "random" else [getattr(space, p).at(resolution)] for p in phase.subnets
    ]
    for step in itertools.product(*choices):
        yield list(step)


Form = tuple[int, tuple[int, ...], tuple[int, ...]]


def _forms(space: DesignSpace, phase: Phase, unit: int) -> list[Form]:
    by_depth: list[list[Form]] = []
    for depth, ratio in zip(space.depths, space.expand_ratios, strict=True):
        allowed = [
            r for r in space.expand_ratios if not phase.expand_ratios or r in phase.expand_ratios
        ]
        if space.compound:
            allowed = [r for r in allowed if r == ratio]
        if not allowed or (phase.depths and depth not in phase.depths):
            continue
        kernels = [k for k in space.kernels[unit] if not phase.kernels or k in phase.kernels]
        by_depth.append([
            (depth, ks, rs)
            for ks in itertools.product(kernels, repeat=depth)
            for rs in itertools.product(allowed, repeat=depth)
        ])  # fmt: skip
    often = math.lcm(*map(len, by_depth))
    return [form for forms in by_depth for form in forms * (often // len(forms))]


def _small(
    space: DesignSpace, *, compound: bool, kernels: tuple[tuple[int, ...], ...]
) -> DesignSpace:
    changes = {"depths": (1, 2), "expand_ratios": (3, 4), "compound": compound, "kernels": kernels}
    return DesignSpace.model_validate(space.model_dump() | changes)


@pytest.mark.parametrize("share_prefix", [False, True])
@pytest.mark.parametrize(
    "fields",
    [
        {"subnets": ("random",)},
        {"subnets": ("largest",)},
        {"subnets": ("largest", "smallest", "random")},
        {"subnets": ("random", "random")},
        {"subnets": ("smallest", "random", "random"), "depths": (2,)},
        {"subnets": ("largest", "random", "random"), "expand_ratios": (3,), "kernels": (3, 5)},
    ],
)
@pytest.mark.parametrize(
    ("compound", "kernels"),
    [(True, ((3,), (5,))), (True, ((3,), (3, 5))), (False, ((3,), (5,)))],
)
def test_is_the_mean_over_every_draw(
    space: DesignSpace,
    compound: bool,
    kernels: tuple[tuple[int, ...], ...],
    fields: dict[str, object],
    share_prefix: bool,
) -> None:
    small = _small(space, compound=compound, kernels=kernels)
    phase = _phase(**fields, share_prefix=share_prefix)
    means = [
        fmean(
            step_macs(small, archs, share_prefix=share_prefix)
            for archs in _all_draws(small, phase, resolution)
        )
        for resolution in small.resolutions
    ]
    assert expected_step_macs(small, phase) == pytest.approx(fmean(means), rel=1e-12)


def test_the_teacher_is_the_largest_of_its_own_space(space: DesignSpace) -> None:
    phase = _phase(subnets=("smallest",), distillation=1.0)
    expected = fmean(
        step_macs(space, [space.smallest.at(r)], teacher=space.largest.at(r))
        for r in space.resolutions
    )
    assert expected_step_macs(space, phase, space) == pytest.approx(expected, rel=1e-12)


def test_a_space_of_one_architecture(space: DesignSpace) -> None:
    only = space.narrowed(Architecture((2, 3), 16))
    phase = _phase(subnets=("largest", "random"))
    assert expected_step_macs(only, phase) == step_macs(only, [only.largest]), "trained once a step"
    shared = _phase(subnets=("largest", "random"), share_prefix=True)
    assert expected_step_macs(only, shared) == step_macs(only, [only.largest])


@pytest.mark.parametrize("name", shipped_recipes())
def test_is_what_the_schedule_of_a_shipped_recipe_comes_to(name: str) -> None:
    recipe = read_recipe(name)
    for phase in recipe.phases:
        preset = phase.design_space or recipe.design_space
        if preset is None:
            continue
        space = design_space(preset)
        drawn = [
            step_macs(
                space,
                sampled_subnets(recipe, phase, space, step),
                share_prefix=phase.share_prefix,
            )
            for step in range(200)
        ]
        error = stdev(drawn) / math.sqrt(len(drawn))
        sizes = train_resolutions(recipe, phase, space)
        expected = expected_step_macs(space, phase, resolutions=sizes)
        assert abs(fmean(drawn) - expected) <= 4 * error + 1e-6


def test_shared_draws_stay_exact_where_forms_are_countless() -> None:
    """Two draws of a huge space share the stem and next to nothing else."""
    space = design_space("imagenet-mbv3-ofa")
    apart = expected_step_macs(space, _phase(subnets=("random", "random")))
    shared = expected_step_macs(space, _phase(subnets=("random", "random"), share_prefix=True))
    stem = apart - shared
    assert 0 < stem < 0.1 * apart


def test_a_phase_that_leaves_nothing_is_named() -> None:
    with pytest.raises(
        ValueError, match=r"phase 'p': kernels of unit \d: expected some of \[5\], got \[3\]"
    ):
        expected_step_macs(
            design_space("fashion-mnist-mbv3"), _phase(subnets=("random",), kernels=(3,))
        )


def test_it_is_quick_for_the_largest_space() -> None:
    space = design_space("imagenet-mbv3-ofa")
    began = time.process_time()
    expected_step_macs(space, _phase(subnets=("largest", "smallest", "random"), share_prefix=True))
    assert time.process_time() - began < 1.0
