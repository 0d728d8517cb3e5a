"""A study's training run: made once, its figures kept for `make bench-train`."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch

from training.costs.comparison import collect
from training.recipe import Recipe
from training.run import Setting, run
from training.run_folder import RunFolder

KEPT = Path("docs/training/runs")


def train_and_keep(recipe: Recipe, out: Path, comparison: str, command: str, threads: int) -> None:
    """Train into `out`, unless that is finished, and keep its figures in a comparison.

    `command` is what makes the run again.
    """
    if not RunFolder(out).artifact.exists():
        run(recipe, out, Setting(num_threads=threads))
    collect(out, KEPT / comparison / f"{recipe.name}-seed{recipe.seed}", command)


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
