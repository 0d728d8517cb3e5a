"""A study's training run: made once, its figures kept for `make bench-train`."""

from __future__ import annotations

from pathlib import Path

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
