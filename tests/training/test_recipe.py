"""Recipes: what ships is valid, and what is wrong is named in one line."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from training.recipe import read_recipe, shipped_recipes
from training.schedule import phase_steps


def test_shipped_recipe_is_the_papers_schedule() -> None:
    recipe = read_recipe("fashion-mnist")
    assert recipe.name in shipped_recipes()
    teacher, first, second, fold = recipe.phases
    assert teacher.subnets == ("largest",)
    assert first.subnets == second.subnets == ("random",) * 4
    assert min(first.depths) > 2, "the first compound phase leaves the smallest form out"
    assert not second.depths, "the second trains all forms"
    assert fold.normalization == "piece-affine"
    assert all(phase.distillation > 0 for phase in (first, second, fold))
    assert all(phase_steps(recipe, phase, 55_000) > 0 for phase in recipe.phases)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("learning_speed = 3", "learning_speed: Extra inputs are not permitted"),
        ("batch_size = 'many'", "batch_size"),
        ("design_space = 'resnet'", "expected one of imagenet-mbv3"),
        ("teacher = 'nobody'", "teacher: expected one of the phases"),
        ("batch_size = ", "not TOML"),
        ("mean = [0.2, 0.3]", "mean: expected 1 value, got 2"),
        ("mean = [nan]", "mean.0"),
        ("clip_norm = inf", "clip_norm"),
        ("design_space = 'imagenet-mbv3'", "1 channel and 10 classes"),
    ],
)
def test_bad_recipe_is_one_line_naming_the_field(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "mine.toml"
    shipped = Path("training/recipes/fashion-mnist.toml").read_text("utf-8").splitlines()
    key = line.split(" = ")[0]
    path.write_text("\n".join([line, *(s for s in shipped if not s.startswith(f"{key} "))]))
    with pytest.raises(ValueError, match=message) as caught:
        read_recipe(str(path))
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_missing_recipe_names_the_shipped_ones(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"No such file.*shipped recipes: fashion-mnist"):
        read_recipe(str(tmp_path / "none.toml"))
    with pytest.raises(ValueError, match="Is a directory"):
        read_recipe(str(tmp_path))


def test_phases_that_cannot_follow_each_other_are_refused(make_recipe: object) -> None:
    assert callable(make_recipe)
    valid = make_recipe()
    fold, teacher = valid.phases[2], valid.phases[0]
    with pytest.raises(ValidationError, match="already folded"):
        make_recipe(phases=(teacher, fold, teacher.model_copy(update={"name": "again"})))
    with pytest.raises(ValidationError, match="no teacher before it"):
        make_recipe(phases=(fold, teacher))
    with pytest.raises(ValidationError, match="a divisor of the batch size 21"):
        make_recipe(batch_size=21)
    with pytest.raises(ValidationError, match="different names"):
        make_recipe(phases=(teacher, teacher))


def test_hash_changes_with_what_decides_the_run(make_recipe: object) -> None:
    assert callable(make_recipe)
    assert make_recipe().sha256 == make_recipe().sha256
    assert make_recipe().sha256 != make_recipe(seed=1).sha256
