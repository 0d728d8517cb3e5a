"""Words as data: what is taken, how it is split, and a family that learns from it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

pytest.importorskip("wordfreq")

from supernet import artifact
from supernet.normalization import PieceAffine
from training.images.data import BatchPlan, Dataset
from training.recipe import Phase, read_recipe
from training.run import Setting, run
from training.text import words


@pytest.fixture(scope="module")
def data() -> Dataset:
    return words.load_words(8000)


def test_accents_go() -> None:
    assert [words.plain(w) for w in ("größe", "żółw", "naïve", "año")] == [
        "grosse", "zolw", "naive", "ano"
    ]  # fmt: skip


def test_splits_are_disjoint_and_the_same_every_time(data: Dataset) -> None:
    assert data.test is not None
    splits = [_rows(split) for split in (data.train, data.validation, data.test)]
    assert [len(rows) for rows in splits[1:]] == [8000, words.TEST_WORDS]
    assert len(set().union(*splits)) == sum(map(len, splits)) > 100_000
    assert splits == [_rows(s) for s in (words.load_words(8000).train, data.validation, data.test)]


def test_classes_are_held_out_evenly(data: Dataset) -> None:
    counts = torch.bincount(data.validation.labels, minlength=len(words.LABELS))
    assert int(counts.max()) - int(counts.min()) <= 1


def test_a_resolution_is_how_many_letters_are_read(data: Dataset) -> None:
    plans = [BatchPlan(torch.arange(5), resolution) for resolution in (16, 8)]
    whole, start = data.train.batches(plans)
    assert whole.x.shape == (5, 16)
    torch.testing.assert_close(start.x, whole.x[:, :8])
    assert int(whole.x.max()) < 27


@pytest.mark.slow
def test_a_family_learns_from_them(tmp_path: Path) -> None:
    """A few steps of the recipe: better than chance, and an artifact without anything to fold."""
    recipe = read_recipe("words")
    changes = {"epochs": 0.04}
    phases = tuple(phase.model_copy(update=changes) for phase in recipe.phases)
    assert all(isinstance(phase, Phase) for phase in phases)
    short = recipe.model_copy(update={"phases": phases, "profile": False, "evaluation_images": 60})
    manifest = run(short, tmp_path / "run", Setting())
    assert manifest is not None
    assert max(entry.accuracy for entry in manifest.catalog.entries) > 0.2  # of ten classes
    loaded = artifact.load(tmp_path / "run" / "artifact")
    assert isinstance(loaded.supernet.normalization, PieceAffine)
    assert loaded.manifest.normalization == "piece-affine"


def _rows(split: object) -> set[tuple[int, ...]]:
    assert isinstance(split, words.WordSource)
    return set(map(tuple, split.tokens.tolist()))
