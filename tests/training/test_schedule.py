"""The schedule: laws of the learning rate, and choices that depend only on the step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from supernet.design_space import DesignSpace
from supernet.presets import design_space
from training import schedule
from training.recipe import Phase, Recipe, read_recipe


@given(
    steps=st.integers(2, 5000),
    peak=st.floats(1e-4, 1.0),
    final=st.floats(0.0, 1.0),
    warmup=st.floats(0.0, 0.9),
    decay=st.sampled_from(["cosine", "linear"]),
)
def test_rate_rises_to_its_peak_and_falls_to_where_the_next_phase_begins(
    steps: int, peak: float, final: float, warmup: float, decay: Literal["cosine", "linear"]
) -> None:
    phase = Phase(
        name="p", epochs=1, learning_rate=peak, final_learning_rate=final * peak,
        warmup=warmup, decay=decay, subnets=("largest",),
    )  # fmt: skip
    rates = [schedule.learning_rate(phase, step, steps) for step in range(steps)]
    assert all(0.0 < rate <= peak * (1 + 1e-9) for rate in rates)
    top = rates.index(max(rates))
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    if steps >= 100:
        assert abs(rates[-1] - final * peak) < 0.06 * peak


def test_two_linear_phases_are_one_line() -> None:
    """A phase that begins where the last one ended is a change within one schedule."""
    whole = Phase(name="w", epochs=1, learning_rate=0.2, warmup=0, decay="linear",
                  subnets=("largest",))  # fmt: skip
    first = whole.model_copy(update={"final_learning_rate": 0.1})
    second = whole.model_copy(update={"learning_rate": 0.1})
    halves = [
        schedule.learning_rate(half, step, 50) for half in (first, second) for step in range(50)
    ]
    assert halves == pytest.approx(
        [schedule.learning_rate(whole, step, 100) for step in range(100)]
    )


def test_the_losses_of_all_but_the_first_subnet_rise_along_the_ramp() -> None:
    phase = Phase(name="p", epochs=1, learning_rate=0.1, ramp=0.5,
                  subnets=("largest", "smallest", "random"))  # fmt: skip
    weights = [schedule.loss_weights(phase, step, 100) for step in range(100)]
    assert all(first == 1.0 and second == third for first, second, third in weights)
    others = [w[1] for w in weights]
    assert others[:50] == pytest.approx([(step + 0.5) / 50 for step in range(50)])
    assert others[50:] == [1.0] * 50
    assert schedule.loss_weights(phase.model_copy(update={"ramp": 0.0}), 0, 100) == [1.0] * 3


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


def test_a_phase_may_have_resolutions_of_its_own(
    make_recipe: Callable[..., Recipe], space: DesignSpace
) -> None:
    def drawn(recipe: Recipe, phase: Phase, space: DesignSpace = space) -> set[int]:
        steps = [schedule.sampled_subnets(recipe, phase, space, step) for step in range(40)]
        return {arch.resolution for archs in steps for arch in archs}

    recipe = make_recipe(train_resolutions=(12, 18))
    small = recipe.phases[0].model_copy(update={"resolutions": (8, 10)})
    assert drawn(recipe, small) == {8, 10}
    assert drawn(recipe, recipe.phases[0]) == {12, 18}
    only = space.narrowed(space.largest)
    assert drawn(recipe, small, only) == {space.largest.resolution}


def test_micro_batches_are_the_batch_in_parts_with_a_seed_each(
    make_recipe: Callable[..., Recipe],
) -> None:
    recipe = make_recipe()
    phase = recipe.phases[1].model_copy(update={"micro_batches": 4})
    plans = schedule.batch_plans(recipe, phase, 3, 16, 200)
    whole = schedule.batch_indices(recipe, phase, 3, 200)
    assert torch.cat([plan.indices for plan in plans]).tolist() == whole.tolist()
    assert len({plan.seed for plan in plans}) == 4
    assert {plan.resolution for plan in plans} == {16}
    again = schedule.batch_plans(recipe, phase, 3, 16, 200)
    assert [plan.seed for plan in again] == [plan.seed for plan in plans]


def test_choices_that_are_free_can_be_restricted_for_a_phase() -> None:
    recipe = read_recipe("ofa")
    space = design_space(recipe.design_space or "")
    for phase in recipe.phases:
        drawn = [schedule.sampled_subnets(recipe, phase, space, step) for step in range(40)]
        archs = [arch for step in drawn for arch in step]
        assert {d for a in archs for d in a.depths} <= set(phase.depths or space.depths)
        assert {e for a in archs for e in a.expand_ratios} <= set(
            phase.expand_ratios or space.expand_ratios
        )
    assert {k for a in archs for k in a.kernels} == {3, 5, 7}
