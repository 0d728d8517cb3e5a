"""The trainer: it learns, a run that was cut off ends the same, and errors are clear."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from supernet.normalization import PieceAffine
from training.data import Images
from training.recipe import Recipe
from training.trainer import Trainer

MakeRecipe = Callable[..., Recipe]


def _silent(*_: object) -> None:
    """Reports nothing."""


class _CutError(Exception):
    """Stands for a kill."""


def _trained(recipe: Recipe, images: Images, path: Path, num_threads: int = 1) -> Trainer:
    trainer = Trainer(recipe, images, path, num_threads)
    trainer.run(_silent)
    return trainer


def _assert_same(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    assert a.keys() == b.keys()
    different = [name for name in a if not torch.equal(a[name], b[name])]
    assert not different


@pytest.mark.parametrize("cut_after", [2, 5, 8, 14])
def test_resumed_run_ends_bit_for_bit_the_same(
    make_recipe: MakeRecipe, images: Images, tmp_path: Path, cut_after: int
) -> None:
    whole = _trained(make_recipe(), images, tmp_path / "whole.pt")
    calls = 0

    def cut(*_: object) -> None:
        nonlocal calls
        calls += 1
        if calls == cut_after:
            raise _CutError

    with pytest.raises(_CutError):
        Trainer(make_recipe(), images, tmp_path / "cut.pt").run(cut)
    resumed = _trained(make_recipe(), images, tmp_path / "cut.pt")
    _assert_same(whole.supernet.state_dict(), resumed.supernet.state_dict())
    assert [p.images for p in whole.phases] == [p.images for p in resumed.phases]
    assert [p.macs for p in whole.phases] == [p.macs for p in resumed.phases]


def test_threads_do_not_change_the_result(
    make_recipe: MakeRecipe, images: Images, tmp_path: Path
) -> None:
    one = _trained(make_recipe(), images, tmp_path / "one.pt", num_threads=1)
    three = _trained(make_recipe(), images, tmp_path / "three.pt", num_threads=3)
    _assert_same(one.supernet.state_dict(), three.supernet.state_dict())


def test_teacher_learns_classes_that_can_be_told_apart(
    make_recipe: MakeRecipe, images: Images, tmp_path: Path
) -> None:
    teacher = make_recipe().phases[0].model_copy(update={"epochs": 12})
    recipe = make_recipe(phases=(teacher,))
    trainer = _trained(recipe, images, tmp_path / "c.pt")
    arch = trainer.space.largest
    logits = trainer.supernet(trainer.transform(images.pixels, arch.resolution), arch)
    assert (logits.argmax(1) == images.labels).float().mean() > 0.9


def test_fold_phase_leaves_every_piece_its_own_affine(
    make_recipe: MakeRecipe, images: Images, tmp_path: Path
) -> None:
    trainer = _trained(make_recipe(), images, tmp_path / "c.pt")
    norm = trainer.supernet.normalization
    assert isinstance(norm, PieceAffine)
    pieces = {name.split("|")[0] for name in norm.tensors()}
    variants = {variant.name for variant in trainer.space.unit_variants()}
    assert pieces == {"stem", "head"} | variants
    assert [phase.name for phase in trainer.phases] == ["teacher", "compound", "fold"]


def test_a_rate_that_diverges_is_said_plainly(
    make_recipe: MakeRecipe, images: Images, tmp_path: Path
) -> None:
    wild = make_recipe().phases[0].model_copy(update={"learning_rate": 1e30, "epochs": 2.0})
    with pytest.raises(ValueError, match=r"the loss is (nan|inf).*learning_rate 1e\+30"):
        _trained(make_recipe(phases=(wild,)), images, tmp_path / "c.pt")


def test_checkpoint_of_another_recipe_is_refused(
    make_recipe: MakeRecipe, images: Images, tmp_path: Path
) -> None:
    path = tmp_path / "c.pt"
    _trained(make_recipe(), images, path)
    with pytest.raises(ValueError, match="belongs to another recipe"):
        Trainer(make_recipe(seed=5), images, path)


def test_truncated_checkpoint_is_refused(
    make_recipe: MakeRecipe, images: Images, tmp_path: Path
) -> None:
    path = tmp_path / "c.pt"
    _trained(make_recipe(), images, path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match="cannot be read"):
        Trainer(make_recipe(), images, path)


def test_ledger_counts_images_and_work(
    make_recipe: MakeRecipe, images: Images, tmp_path: Path
) -> None:
    trainer = _trained(make_recipe(), images, tmp_path / "c.pt")
    assert [phase.images for phase in trainer.phases] == [100, 100, 100]
    assert all(phase.macs > 0 and math.isfinite(phase.hours) for phase in trainer.phases)
