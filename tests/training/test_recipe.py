"""Recipes: what ships is valid, and what is wrong is named in one line."""

from __future__ import annotations

import itertools
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


@pytest.mark.parametrize("name", shipped_recipes())
def test_every_shipped_recipe_is_valid_and_is_called_like_its_file(name: str) -> None:
    recipe = read_recipe(name)
    assert recipe.name == name
    assert all(phase_steps(recipe, phase, 55_000) > 0 for phase in recipe.phases)


@pytest.mark.parametrize("size", ["", "imagenet-"])
def test_the_rivals_share_teacher_and_epochs_as_published(size: str) -> None:
    ofa, compofa, elastic = (
        read_recipe(size + name) for name in ("ofa", "compofa", "compofa-elastic")
    )
    assert [p.name for p in ofa.phases] == [
        "teacher", "kernel", "depth-1", "depth-2", "expand-1", "expand-2"
    ]  # fmt: skip
    assert [len(p.subnets) for p in ofa.phases] == [1, 1, 2, 2, 4, 4]
    assert compofa.phases[1:3] == elastic.phases[1:3]
    long, short = ofa.phases[-1].epochs, ofa.phases[-2].epochs
    for phase in (*ofa.phases[1:], *compofa.phases[1:3]):
        assert phase.epochs == (short if phase.name.endswith("-1") else long)
    assert ofa.phases[0].epochs == compofa.phases[0].epochs == elastic.phases[0].epochs
    if size:
        assert (ofa.phases[0].epochs, long, short) == (180, 125, 25)


@pytest.mark.parametrize("name", ["fast", "imagenet-fast"])
def test_fast_is_one_stage_without_a_teacher_and_one_line_of_rates(name: str) -> None:
    recipe = read_recipe(name)
    assert recipe.teacher is None
    for before, after in itertools.pairwise(recipe.phases):
        assert after.learning_rate == before.final_learning_rate
        assert after.warmup == 0.0


def test_no_rival_leaves_the_published_optimizer() -> None:
    assert [name for name in shipped_recipes() if read_recipe(name).muon] == ["fast", "words"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("learning_speed = 3", "learning_speed: Extra inputs are not permitted"),
        ("batch_size = 'many'", "batch_size"),
        ("design_space = 'resnet'", "expected one of imagenet-mbv3"),
        ("teacher = 'nobody'", "teacher: expected one of the phases"),
        ("batch_size = ", "not TOML"),
        ("mean = [0.2, 0.3]", r"mean: expected 1 value\(s\), got 2"),
        ("mean = []", "mean, std: expected a value for each channel"),
        ("dataset = 'words'", "dataset: expected images, which the design_space 'fashion-mnist"),
        ("new_classifier = 3", "new_classifier"),
        ("mean = [nan]", "mean.0"),
        ("clip_norm = inf", "clip_norm"),
        ("design_space = 'imagenet-mbv3'", r"mean: expected 3 value\(s\), got 1"),
        ("compile = 'fast'", "compile"),
        ("compile = 1", "compile: Input should be a valid boolean"),
        ("batch_size = '64'", "batch_size: Input should be a valid integer"),
        ("weight_decay = true", "weight_decay: Input should be a valid number"),
        ("seed = -1", "seed: Input should be greater than or equal to 0"),
        ("crop_padding = 1000000", "crop_padding: Input should be less than or equal to 64"),
        ("name = ''", "name: expected a name without '/'"),
        ("name = '../../x'", "name: expected a name without '/'"),
        ("batch_size = 2", "micro_batches: expected at least 2 images in each"),
        ("mean = 1979-05-27", "mean: Input should be a valid"),
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


def test_a_net_of_text_learns_from_text(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    words = Path("training/recipes/words.toml").read_text("utf-8")
    assert 'dataset = "words"' in words
    path.write_text(words.replace('dataset = "words"', 'dataset = "fashion-mnist"'))
    with pytest.raises(ValueError, match=r"dataset: expected text, .* got 'fashion-mnist'"):
        read_recipe(str(path))


@pytest.mark.parametrize("line", ["mean = [0.3]", "std = [0.3]"])
def test_a_mean_goes_with_a_deviation(tmp_path: Path, line: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(line + "\n" + Path("training/recipes/fold.toml").read_text("utf-8"))
    with pytest.raises(ValueError, match="mean, std: expected both or none of them"):
        read_recipe(str(path))


def test_missing_recipe_names_the_shipped_ones(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"No such file.*shipped recipes: .*fashion-mnist"):
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
    in_place = {"distill_from": "first", "subnets": ("random", "largest")}
    with pytest.raises(ValidationError, match="'largest', first"):
        make_recipe(phases=(teacher.model_dump() | in_place,))
    with pytest.raises(ValidationError, match="final_learning_rate: expected at most"):
        make_recipe(phases=(teacher.model_dump() | {"final_learning_rate": 9.0},))
    with pytest.raises(ValidationError, match="nothing would be learnt"):
        make_recipe(phases=(teacher.model_dump() | {"label_weight": 0.0},))
    with pytest.raises(ValidationError, match=r"kernels: expected some of \[3, 5\], got \[7\]"):
        make_recipe(phases=(teacher.model_copy(update={"kernels": (7,)}),))
    with pytest.raises(ValidationError, match="on another skeleton"):
        make_recipe(phases=(teacher.model_copy(update={"design_space": "fashion-mnist-mbv3"}),))
    sorting = teacher.model_dump() | {"name": "again", "sort_channels": True,
                                      "normalization": "piece-affine"}  # fmt: skip
    with pytest.raises(ValidationError, match="sort_channels: the net is already folded"):
        make_recipe(phases=(teacher, fold, sorting))
    with pytest.raises(ValidationError, match="different names"):
        make_recipe(phases=(teacher, teacher))


def test_hash_changes_with_what_is_in_the_recipe_but_not_with_the_seed(
    make_recipe: object,
) -> None:
    assert callable(make_recipe)
    assert make_recipe().sha256 == make_recipe(seed=1).sha256
    assert make_recipe().sha256 != make_recipe(weight_decay=0.5).sha256


def test_a_recipe_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    shipped = Path("training/recipes/fast.toml").read_text("utf-8")
    (tmp_path / "mine.toml").write_text(shipped, "utf-8-sig")
    assert read_recipe(str(tmp_path / "mine.toml")) == read_recipe("fast")


@pytest.mark.parametrize("epochs", ["1e30", "'2'", "0", "true"])
def test_epochs_are_a_number_that_can_be_run(tmp_path: Path, epochs: str) -> None:
    text = Path("training/recipes/fast.toml").read_text("utf-8")
    (tmp_path / "mine.toml").write_text(text.replace("epochs = 4.3", f"epochs = {epochs}"))
    with pytest.raises(ValueError, match=r"phases\.0\.epochs: Input should be "):
        read_recipe(str(tmp_path / "mine.toml"))
