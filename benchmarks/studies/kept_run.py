"""A study's training run: made once, its figures kept for `make bench-train`."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import torch

from supernet import artifact
from supernet.artifact import Description
from supernet.catalog import Catalog
from supernet.manifest import read_manifest
from training.costs.comparison import collect
from training.evaluate import accuracies, with_accuracies
from training.images.data_folder import open_data_folder
from training.images.file_source import FileLoading
from training.recipe import Recipe
from training.run import Setting, run
from training.run_folder import RunFolder

KEPT = Path("docs/training/runs")
FEW = 50  # images; who is to be evaluated in part is evaluated again
ALL = 729  # subnets of a catalog that is still the one measured on so few


def train_and_keep(
    recipe: Recipe, out: Path, comparison: str, command: str, threads: int, every: int = 1
) -> None:
    """Train into `out`, unless that is finished, and keep its figures in a comparison.

    `command` is what makes the run again. `every` n-th subnet is evaluated: all 729 take longer
    than a short training.
    """
    folder = RunFolder(out)
    if not folder.artifact.exists():
        run(recipe, out, Setting(num_threads=threads, evaluation_images=FEW if every > 1 else None))
    if every > 1 and len(read_manifest(folder.artifact).catalog) == ALL:
        _evaluate(folder.artifact, recipe, threads, every)
    collect(out, KEPT / comparison / f"{recipe.name}-seed{recipe.seed}", command)


def _evaluate(path: Path, recipe: Recipe, threads: int, every: int) -> None:
    """Put the accuracies of every n-th subnet in place of those that were measured in a hurry."""
    loaded = artifact.load(path)
    supernet, space = loaded.supernet, loaded.supernet.space
    loading = FileLoading(loaded.manifest.preprocessing)
    data = open_data_folder(None, loading, validation_images=recipe.validation_images)
    archs = list(space.representatives())[::every]
    assert data.test is not None
    validation, test = (
        accuracies(supernet, split, archs, num_threads=threads)
        for split in (data.validation, data.test)
    )
    catalog = with_accuracies(Catalog(), space, validation=validation, test=test)
    artifact.save(path, supernet, replace(Description.of(loaded), catalog=catalog))


def branch(stem: RunFolder, recipe: Recipe, out: RunFolder) -> None:
    """Let a run of `recipe` go on in `out` where the run in `stem`, whose recipe differs only in
    later phases and in its name, has ended. Its ledger and log begin with those of `stem`."""
    state = torch.load(stem.checkpoint, weights_only=True)
    _, seed, rest = state["identity"].split(", ", 2)
    assert seed == f"seed {recipe.seed}", seed
    state["identity"] = f"{recipe.sha256}, {seed}, {rest}"
    out.path.mkdir(parents=True)
    shutil.copy(stem.log, out.log)
    torch.save(state, out.checkpoint)
