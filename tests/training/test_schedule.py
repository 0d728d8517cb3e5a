"""The schedule: laws of the learning rate, and choices that depend only on the step."""

from __future__ import annotations

from collections.abc import Callable

import torch
from hypothesis import given
from hypothesis import strategies as st

from supernet.design_space import DesignSpace
from training import schedule
from training.recipe import Phase, Recipe


@given(
    steps=st.integers(2, 5000),
    peak=st.floats(1e-4, 1.0),
    warmup=st.floats(0.0, 0.9),
)
def test_rate_stays_below_its_peak_and_ends_near_zero(
    steps: int, peak: float, warmup: float
) -> None:
    phase = Phase(name="p", epochs=1, learning_rate=peak, warmup=warmup, subnets=("largest",))
    rates = [schedule.learning_rate(phase, step, steps) for step in range(steps)]
    assert all(0.0 < rate <= peak for rate in rates)
    top = rates.index(max(rates))
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    if steps >= 100:
        assert rates[-1] < 0.05 * peak


def test_an_epoch_sees_each_image_once(make_recipe: Callable[..., Recipe]) -> None:
    recipe = make_recipe()
    phase = recipe.phases[0]
    first = [schedule.batch_indices(recipe, phase, step, 200) for step in range(10)]
    second = [schedule.batch_indices(recipe, phase, step, 200) for step in range(10, 20)]
    assert sorted(torch.cat(first).tolist()) == list(range(200))
    assert sorted(torch.cat(second).tolist()) == list(range(200))
    assert torch.cat(first).tolist() != torch.cat(second).tolist()


def test_a_step_draws_the_same_subnets_again_at_one_resolution(
    make_recipe: Callable[..., Recipe], space: DesignSpace
) -> None:
    recipe = make_recipe()
    compound, fold = recipe.phases[1:]
    drawn = [schedule.sampled_subnets(recipe, compound, space, step) for step in range(60)]
    assert drawn == [schedule.sampled_subnets(recipe, compound, space, s) for s in range(60)]
    assert all(len({arch.resolution for arch in archs}) == 1 for archs in drawn)
    assert {arch.resolution for archs in drawn for arch in archs} == set(space.resolutions)
    assert {d for archs in drawn for arch in archs for d in arch.depths} == {3, 4}
    largest, smallest, _ = schedule.sampled_subnets(recipe, fold, space, 0)
    assert largest == space.largest.at(largest.resolution)
    assert smallest == space.smallest.at(largest.resolution)
