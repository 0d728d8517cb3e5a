"""The estimate: by hand, beside the published schedules, quick, and close to a finished run."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from statistics import fmean

import pytest
from rich.console import Console

from supernet import shipped
from supernet.architecture import Architecture
from supernet.design_space import DesignSpace
from supernet.manifest import read_manifest
from supernet.presets import design_space
from training.costs.cost import fold_start_macs, forward_macs
from training.costs.estimate import (
    Estimate,
    comparable_epochs,
    estimate,
    print_estimate,
    published,
    readable_macs,
)
from training.muon import update_macs
from training.recipe import Muon, Recipe, read_recipe, shipped_recipes

MakeRecipe = Callable[..., Recipe]
IMAGENET = 1_281_167


def _mean_macs(space: DesignSpace, arch: Architecture) -> float:
    return fmean(forward_macs(space, arch.at(resolution)) for resolution in space.resolutions)


def test_adds_up_by_hand(make_recipe: MakeRecipe, space: DesignSpace) -> None:
    recipe = make_recipe()
    teacher, compound, fold = estimate(recipe, 200).phases
    largest = _mean_macs(space, space.largest)
    assert (teacher.name, teacher.epochs, teacher.images) == ("teacher", 0.5, 100)
    assert teacher.macs == pytest.approx(100 * 3 * largest)
    deep = fmean(_mean_macs(space, Architecture((a, b), 16)) for a in (3, 4) for b in (3, 4))
    assert compound.macs == pytest.approx(100 * (2 * 3 * deep + largest))
    of_all = fmean(
        _mean_macs(space, Architecture((a, b), 16)) for a in (2, 3, 4) for b in (2, 3, 4)
    )
    smallest = _mean_macs(space, space.smallest)
    steps = 100 * (3 * (largest + smallest + of_all) + largest)
    alike = [Architecture((depth, depth), 16) for depth in space.depths]
    begin = 24 * 200 * sum(_mean_macs(space, arch) for arch in alike)  # 24 batches of all images
    assert fold.macs == pytest.approx(steps + begin)
    assert estimate(recipe, 200).total.images == 300


def test_a_phase_at_a_resolution_of_its_own_costs_that(
    make_recipe: MakeRecipe, space: DesignSpace
) -> None:
    recipe = make_recipe()
    small = min(space.resolutions)
    phase = recipe.phases[0].model_copy(update={"resolutions": (small,)})
    changed = recipe.model_copy(update={"phases": (phase, *recipe.phases[1:])})
    teacher, *others = estimate(changed, 200).phases
    assert teacher.macs == 100 * 3 * forward_macs(space, space.largest.at(small))
    assert tuple(others) == estimate(recipe, 200).phases[1:]


def test_a_delayed_sandwich_costs_a_quarter_of_ofa() -> None:
    """Largest alone for 90 epochs, then with the smallest and a random one for 90 more: by this
    count of MACs 4.6 times less than OFA and 2.5 times less than CompOFA."""
    space = design_space("imagenet-mbv3")
    phase = {"epochs": 90, "learning_rate": 1.0}
    sandwich = ["largest", "smallest", "random"]
    recipe = Recipe.model_validate(
        {
            "name": "delayed",
            "design_space": space.name,
            "batch_size": 2048,
            "validation_images": 1,
            "mean": (0.5,) * 3,
            "std": (0.25,) * 3,
            "phases": [
                {"name": "grow", "subnets": ["largest"]} | phase,
                {"name": "shrink", "subnets": sandwich} | phase,
            ],
        }
    )
    found = estimate(recipe, IMAGENET)
    ofa, compofa = found.published
    assert (ofa.name, compofa.name) == ("OFA", "CompOFA")
    assert (ofa.epochs, compofa.epochs) == (605, 330)
    assert ofa.macs / found.total.macs == pytest.approx(4.6, abs=0.1)
    assert compofa.macs / found.total.macs == pytest.approx(2.5, abs=0.1)


@pytest.mark.parametrize(("name", "place"), [("imagenet-ofa", 0), ("imagenet-compofa", 1)])
def test_a_published_recipe_is_its_own_measure(name: str, place: int) -> None:
    found = estimate(read_recipe(name), IMAGENET)
    ratio = found.published[place].macs / found.total.macs
    assert ratio == pytest.approx(1.0, abs=0.02)  # whole steps; a fold phase of ours


def test_same_epochs_means_those_of_the_teacher_or_of_the_only_stage() -> None:
    phases = read_recipe("compofa").phases
    assert comparable_epochs(read_recipe("compofa")) == phases[0].epochs
    fast = read_recipe("fast")
    before_fold = [p.epochs for p in fast.phases if p.normalization == "batch"]
    assert comparable_epochs(fast) == sum(before_fold)


def test_nothing_is_compared_where_there_is_nothing_like_it(
    make_recipe: MakeRecipe, space: DesignSpace
) -> None:
    assert estimate(make_recipe(), 200).published == ()  # two units
    big = design_space("fashion-mnist-mbv3")
    assert published(big, 0.0, 100) == ()
    assert published(big.narrowed(big.largest), 10.0, 100) == ()
    fine_tune = read_recipe("fine-tune")
    narrow = space.narrowed(space.largest)
    assert estimate(fine_tune, 200, space=narrow, teacher_space=space).published == ()


def test_a_net_that_is_folded_already_has_no_affines_to_begin_with(space: DesignSpace) -> None:
    fold = read_recipe("fold")
    apart = (estimate(fold, 20, space=space, folded=folded).total.macs for folded in (False, True))
    assert next(apart) - next(apart) == fold_start_macs(space, 20) > 0


def test_each_step_of_muon_is_counted(make_recipe: MakeRecipe, space: DesignSpace) -> None:
    recipe, muon = make_recipe(), Muon(learning_rate=0.1)
    without = estimate(recipe, 200).total
    more = estimate(recipe.model_copy(update={"muon": muon}), 200).total.macs - without.macs
    assert more == without.images // recipe.batch_size * update_macs(space, muon) > 0
    phases = tuple(phase.model_copy(update={"muon": False}) for phase in recipe.phases)
    by_sgd = recipe.model_copy(update={"muon": muon, "phases": phases})
    assert estimate(by_sgd, 200).total.macs == without.macs


def test_what_each_process_does_by_itself_counts_as_often(space: DesignSpace) -> None:
    muon = {"muon": Muon(learning_rate=0.1)}
    fold = read_recipe("fold").model_copy(update=muon)
    one, three = (estimate(fold, 2000, space=space, processes=n).total for n in (1, 3))
    updates = one.images // fold.batch_size * update_macs(space, muon["muon"])
    assert three.macs - one.macs == 2 * (updates + fold_start_macs(space, 2000)) > 0


def test_a_teacher_from_the_beginning_is_counted(space: DesignSpace) -> None:
    fold = read_recipe("fold")
    alone = estimate(fold, 2000, space=space).total.macs
    taught = estimate(fold, 2000, space=space, teacher_space=space).total
    assert taught.macs - alone == pytest.approx(taught.images * _mean_macs(space, space.largest))


def test_a_recipe_without_a_space_needs_one() -> None:
    with pytest.raises(ValueError, match="recipe fold: has no design_space"):
        estimate(read_recipe("fold"), 2000)


def test_close_to_what_the_shipped_run_really_drew() -> None:
    ledger = read_manifest(shipped.artifact_folder()).ledger
    assert ledger is not None
    recipe = read_recipe(ledger.recipe)
    spent = {phase.name: phase for phase in ledger.phases}
    for cost in estimate(recipe, ledger.train_images, folded=True).phases:  # not counted then
        per_image = spent[cost.name].macs / spent[cost.name].images
        assert cost.macs / cost.images == pytest.approx(per_image, rel=0.01)


def test_every_shipped_recipe_is_estimated_quickly() -> None:
    for name in shipped_recipes():
        recipe = read_recipe(name)
        if recipe.design_space is not None:
            began = time.process_time()
            estimate(recipe, IMAGENET)
            assert time.process_time() - began < 2.0


def test_is_printed_with_hours_where_the_rate_is_known() -> None:
    def printed(rate: float | None) -> tuple[str, Estimate]:
        out = io.StringIO()
        console = Console(file=out, width=100)
        found = print_estimate(read_recipe("fast"), 55000, console, macs_per_second=rate)
        return out.getvalue(), found

    text, found = printed(None)
    assert "hours" not in text
    assert readable_macs(found.total.macs) in text
    ratio = found.published[0].macs / found.total.macs
    assert (
        f"OFA's schedule for the same epochs: {readable_macs(found.published[0].macs)} MACs, "
        in text
    )
    assert f"{ratio:.2f}x" in text
    text, found = printed(1e10)
    assert f"{found.total.macs / 1e10 / 3600:.2g}" in text


@pytest.mark.parametrize(
    ("macs", "text"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1 k"),
        (80.7e12, "80.7 T"),
        (1.41e18, "1.41 E"),
        (5e21, "5e+03 E"),
    ],
)
def test_macs_for_people(macs: float, text: str) -> None:
    assert readable_macs(macs) == text
