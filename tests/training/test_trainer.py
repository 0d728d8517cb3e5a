"""The trainer: it learns, a run that was cut off ends the same, and errors are clear."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from supernet import presets
from supernet.design_space import DesignSpace
from supernet.manifest import Preprocessing
from supernet.model import Supernet
from supernet.normalization import PieceAffine
from training.images.augment import Transform
from training.images.data import BatchPlan, ImageSource
from training.images.memory import Images, MemorySource
from training.processes import Processes
from training.recipe import Recipe
from training.start import untrained
from training.trainer import Trainer

MakeRecipe = Callable[..., Recipe]

SINGLE_STAGE: dict[str, Any] = {
    "teacher": None,
    "muon": {"learning_rate": 0.1, "weight_decay": 0.01, "iterations": 3},
    "phases": (
        {
            "name": "grow",
            "epochs": 0.4,
            "learning_rate": 0.1,
            "final_learning_rate": 0.05,
            "subnets": ("largest",),
        },
        {
            "name": "shrink",
            "epochs": 0.7,
            "learning_rate": 0.05,
            "decay": "linear",
            "warmup": 0.0,
            "micro_batches": 2,
            "subnets": ("largest", "smallest", "random"),
            "ramp": 0.5,
            "share_prefix": True,
            "distillation": 1.0,
            "label_weight": 0.0,
            "distill_from": "first",
            "divergence": "alpha",
            "ema": 0.9,
        },
        {
            "name": "fold",
            "muon": False,
            "epochs": 0.4,
            "learning_rate": 0.005,
            "subnets": ("largest", "random"),
            "normalization": "piece-affine",
            "ema": 0.8,
        },
    ),
}


def _silent(*_: object) -> None:
    """Reports nothing."""


class _CutError(Exception):
    """Stands for a kill."""


def _new(
    recipe: Recipe, images: Images, path: Path, num_threads: int = 1, until: str | None = None
) -> Trainer:
    start, source = untrained(recipe, classes=10).supernet, _source(images)
    setting = f"{num_threads} thread(s)"
    return Trainer(
        recipe, start, source, path, num_threads=num_threads, setting=setting, until=until
    )


def _source(images: Images) -> ImageSource:
    return MemorySource(images, Transform(Preprocessing(mean=(0.2,), std=(0.3,))))


def _trained(recipe: Recipe, images: Images, path: Path, num_threads: int = 1) -> Trainer:
    trainer = _new(recipe, images, path, num_threads)
    trainer.run(_silent)
    return trainer


_UNINTERRUPTED: dict[str, Trainer] = {}  # by recipe: several tests compare with the same one


def _uninterrupted(recipe: Recipe, images: Images, path: Path) -> Trainer:
    if recipe.sha256 not in _UNINTERRUPTED:
        _UNINTERRUPTED[recipe.sha256] = _trained(recipe, images, path)
    return _UNINTERRUPTED[recipe.sha256]


_CHECKPOINTS: dict[str, bytes] = {}  # by recipe, too


def _leave_checkpoint(recipe: Recipe, images: Images, path: Path) -> None:
    """What a run leaves in `path`."""
    if recipe.sha256 not in _CHECKPOINTS:
        _trained(recipe, images, path)
        _CHECKPOINTS[recipe.sha256] = path.read_bytes()
    path.write_bytes(_CHECKPOINTS[recipe.sha256])


def _assert_same(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    assert a.keys() == b.keys()
    different = [name for name in a if not torch.equal(a[name], b[name])]
    assert not different


@pytest.mark.parametrize(
    ("single_stage", "cut_after"),
    [
        (False, 2),
        (False, 14),
        (True, 8),
        *(pytest.param(False, cut, marks=pytest.mark.slow) for cut in (5, 8)),
        *(pytest.param(True, cut, marks=pytest.mark.slow) for cut in (2, 5, 14)),
    ],
)
def test_resumed_run_ends_bit_for_bit_the_same(
    make_recipe: MakeRecipe, images: Images, tmp_path: Path, single_stage: bool, cut_after: int
) -> None:
    recipe = make_recipe(**SINGLE_STAGE) if single_stage else make_recipe()
    whole = _uninterrupted(recipe, images, tmp_path / "whole.pt")
    calls = 0

    def cut(*_: object) -> None:
        nonlocal calls
        calls += 1
        if calls == cut_after:
            raise _CutError

    with pytest.raises(_CutError):
        _new(recipe, images, tmp_path / "cut.pt").run(cut)
    resumed = _trained(recipe, images, tmp_path / "cut.pt")
    _assert_same(whole.supernet.state_dict(), resumed.supernet.state_dict())
    assert [p.images for p in whole.phases] == [p.images for p in resumed.phases]
    assert [p.macs for p in whole.phases] == [p.macs for p in resumed.phases]
    assert [p.train_loss for p in whole.phases] == [p.train_loss for p in resumed.phases]


def test_a_run_that_ended_after_a_phase_goes_on_from_there(
    make_recipe: MakeRecipe, images: Images, tmp_path: Path
) -> None:
    path = tmp_path / "c.pt"
    part = _new(make_recipe(), images, path, until="compound")
    part.run(_silent)
    assert [phase.name for phase in part.phases] == ["teacher", "compound"]
    resumed = _trained(make_recipe(), images, path, num_threads=2)
    whole = _uninterrupted(make_recipe(), images, tmp_path / "whole.pt")
    _assert_same(whole.supernet.state_dict(), resumed.supernet.state_dict())
    assert resumed.settings == ("1 thread(s)", "2 thread(s)")
    with pytest.raises(ValueError, match="has gone on beyond the phase 'compound'"):
        _new(make_recipe(), images, path, until="compound")


def test_a_phase_that_has_begun_is_beyond_the_one_before(
    make_recipe: MakeRecipe, images: Images, tmp_path: Path
) -> None:
    path = tmp_path / "c.pt"
    trainer = _new(make_recipe(), images, path)
    with pytest.raises(KeyboardInterrupt):
        trainer.run(lambda report: trainer.stop.set() if report.progress.phase == 1 else None)
    with pytest.raises(ValueError, match="has gone on beyond the phase 'teacher'"):
        _new(make_recipe(), images, path, until="teacher")
    assert _new(make_recipe(), images, path, until="compound").progress.phase == 1
    assert _new(make_recipe(), images, path).settings == ("1 thread(s)",)


def test_threads_do_not_change_the_result(
    make_recipe: MakeRecipe, images: Images, tmp_path: Path
) -> None:
    one = _uninterrupted(make_recipe(), images, tmp_path / "one.pt")
    three = _trained(make_recipe(), images, tmp_path / "three.pt", num_threads=3)
    _assert_same(one.supernet.state_dict(), three.supernet.state_dict())


def test_teacher_learns_classes_that_can_be_told_apart(
    make_recipe: MakeRecipe, images: Images, tmp_path: Path
) -> None:
    teacher = make_recipe().phases[0].model_copy(update={"epochs": 12})
    recipe = make_recipe(phases=(teacher,))
    trainer = _trained(recipe, images, tmp_path / "c.pt")
    arch = trainer.space.largest
    (batch,) = _source(images).batches([BatchPlan(torch.arange(200), arch.resolution)])
    logits = trainer.supernet(batch.x, arch)
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
    with pytest.raises(
        ValueError, match=r"the (loss|gradient_norm) is (nan|inf).*learning_rate 1e\+30"
    ):
        _trained(make_recipe(phases=(wild,)), images, tmp_path / "c.pt")


def test_checkpoint_of_another_recipe_is_refused(
    make_recipe: MakeRecipe, images: Images, tmp_path: Path
) -> None:
    path = tmp_path / "c.pt"
    _leave_checkpoint(make_recipe(), images, path)
    with pytest.raises(ValueError, match="belongs to another recipe"):
        _new(make_recipe(seed=5), images, path)


def test_truncated_checkpoint_is_refused(
    make_recipe: MakeRecipe, images: Images, tmp_path: Path
) -> None:
    path = tmp_path / "c.pt"
    _leave_checkpoint(make_recipe(), images, path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match="cannot be read"):
        _new(make_recipe(), images, path)


@pytest.mark.parametrize("place", [0, 40, 5000, -1])
def test_a_checkpoint_with_a_bit_turned_is_refused(
    make_recipe: MakeRecipe, images: Images, tmp_path: Path, place: int
) -> None:
    path = tmp_path / "c.pt"
    _leave_checkpoint(make_recipe(), images, path)
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="cannot be read; remove it"):
        _new(make_recipe(), images, path)


def test_micro_batches_are_shared_out_evenly(
    make_recipe: MakeRecipe, images: Images, tmp_path: Path
) -> None:
    recipe, start = make_recipe(), untrained(make_recipe(), classes=10)
    with pytest.raises(ValueError, match="expected a multiple of the 3 processes, got 1"):
        Trainer(recipe, start.supernet, _source(images), tmp_path / "c.pt",
                processes=Processes(0, 3))  # fmt: skip


def test_fewer_images_than_a_batch_are_refused(
    make_recipe: MakeRecipe, images: Images, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="batch_size: expected at most the 200 training images"):
        _new(make_recipe(batch_size=201, phases=make_recipe().phases[:1]), images, tmp_path / "c")


def test_channels_of_a_folded_net_are_not_sorted(
    make_recipe: MakeRecipe, images: Images, tmp_path: Path, folded_supernet: Supernet
) -> None:
    """Its affines would stay behind."""
    phase = make_recipe().phases[2].model_copy(update={"sort_channels": True, "distillation": 0.0})
    recipe = make_recipe(teacher=None, phases=(phase,))
    start = copy.deepcopy(folded_supernet).requires_grad_(True)
    trainer = Trainer(recipe, start, _source(images), tmp_path / "c.pt")
    with pytest.raises(ValueError, match="sort_channels: the net is already folded"):
        trainer.run(_silent)


def test_one_subnet_alone_runs_on_its_own_space_in_every_phase(
    make_recipe: MakeRecipe, images: Images, tmp_path: Path, space: DesignSpace,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Also where a phase names another, and once a step however many subnets it asks for."""
    wide = space.model_copy(update={"name": "wide", "kernels": ((3,), (3, 5))})
    monkeypatch.setitem(presets.PRESETS, "wide", lambda: wide)
    teacher, compound, fold = make_recipe().phases
    phases = (teacher.model_copy(update={"design_space": "wide"}), compound, fold)
    recipe = make_recipe(phases=phases)
    start = untrained(recipe, classes=10, subnet="d2-3@16")
    trainer = Trainer(recipe, start.supernet, _source(images), tmp_path / "c.pt")
    trainer.run(_silent)
    first, second, _ = trainer.phases
    assert second.macs * 3 == first.macs * 4, "one subnet and its teacher a step, not two subnets"


def test_asked_to_stop_it_leaves_a_checkpoint_after_the_step(
    make_recipe: MakeRecipe, images: Images, tmp_path: Path
) -> None:
    whole = _uninterrupted(make_recipe(), images, tmp_path / "whole.pt")
    trainer = _new(make_recipe(), images, tmp_path / "c.pt")
    with pytest.raises(KeyboardInterrupt):
        trainer.run(lambda report: trainer.stop.set() if report.progress.step == 2 else None)
    resumed = _new(make_recipe(), images, tmp_path / "c.pt")
    assert resumed.progress.step == 2
    resumed.run(_silent)
    _assert_same(whole.supernet.state_dict(), resumed.supernet.state_dict())


def test_ledger_counts_images_and_work(
    make_recipe: MakeRecipe, images: Images, tmp_path: Path
) -> None:
    trainer = _trained(make_recipe(), images, tmp_path / "c.pt")
    assert [phase.images for phase in trainer.phases] == [100, 100, 100]
    assert all(phase.macs > 0 and math.isfinite(phase.hours) for phase in trainer.phases)


def test_a_shared_prefix_changes_the_work_and_not_the_result(
    make_recipe: MakeRecipe, images: Images, tmp_path: Path
) -> None:
    def run(share: bool) -> Trainer:
        fold = make_recipe().phases[2].model_copy(update={"distillation": 0.0})
        phase = fold.model_copy(update={"normalization": "batch", "share_prefix": share})
        recipe = make_recipe(teacher=None, phases=(phase,))
        return _trained(recipe, images, tmp_path / f"{share}.pt")

    apart, together = run(share=False), run(share=True)
    weights = apart.supernet.state_dict()
    for name, tensor in together.supernet.state_dict().items():
        torch.testing.assert_close(tensor, weights[name], rtol=1e-4, atol=1e-5)
    assert together.phases[0].macs < apart.phases[0].macs


def test_micro_batches_one_after_another_are_gradient_accumulation(
    make_recipe: MakeRecipe, images: Images, tmp_path: Path
) -> None:
    """With frozen affines a batch in four parts gives the same weights as in one."""

    def run(parts: int) -> dict[str, Tensor]:
        fold = (
            make_recipe()
            .phases[2]
            .model_copy(update={"distillation": 0.0, "micro_batches": parts, "epochs": 0.2})
        )
        recipe = make_recipe(teacher=None, phases=(fold,))
        return _trained(recipe, same_mirrored, tmp_path / f"{parts}.pt").supernet.state_dict()

    same_mirrored = Images(images.pixels.maximum(images.pixels.flip(-1)), images.labels)

    whole = run(1)
    for name, tensor in run(4).items():
        torch.testing.assert_close(tensor, whole[name], rtol=1e-4, atol=1e-5)


def test_bfloat16_learns_too_and_leaves_float32_weights(
    make_recipe: MakeRecipe, images: Images, tmp_path: Path
) -> None:
    trainer = _trained(make_recipe(precision="bfloat16"), images, tmp_path / "c.pt")
    assert {p.dtype for p in trainer.supernet.parameters()} == {torch.float32}
    exact = _uninterrupted(make_recipe(), images, tmp_path / "exact.pt")
    for reduced, full in zip(trainer.phases, exact.phases, strict=True):
        assert reduced.train_loss == pytest.approx(full.train_loss, rel=0.05)


def test_a_phase_may_run_on_a_sibling_space(
    make_recipe: MakeRecipe, images: Images, tmp_path: Path, space: DesignSpace,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """As CompOFA's teacher does, whose kernels are all 7x7 and its students' are not."""
    wide = space.model_copy(update={"name": "wide", "kernels": ((3,), (3, 5))})
    small = space.model_copy(update={"kernels": ((3,), (3,))})
    monkeypatch.setitem(presets.PRESETS, "wide", lambda: wide)
    monkeypatch.setitem(presets.PRESETS, "tiny", lambda: small)
    teacher, compound, fold = make_recipe().phases
    on_wide = teacher.model_copy(update={"design_space": "wide"})
    trainer = _trained(make_recipe(phases=(on_wide, compound, fold)), images, tmp_path / "c.pt")
    assert trainer.teacher is not None
    assert trainer.teacher.space.largest.kernels == (3, 3, 3, 3, 5, 5, 5, 5)
    assert trainer.supernet.space == small
    assert (
        trainer.phases[0].macs > _trained(make_recipe(), images, tmp_path / "d.pt").phases[0].macs
    )
