"""Hours that recipes take on this machine, measured in turn so that other work on it is shared.

    python benchmarks/studies/wall_time.py [RECIPE…]

The hours in the ledgers of whole runs are of different times of day. Here each phase of each
recipe runs for a few steps and for a few more, in turn, again and again; the difference is what a
step takes, what is left is the phase's start. Prints hours as the sum over phases of
start + steps x step, each the median of the rounds.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import defaultdict
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from supernet.manifest import Preprocessing
from training import schedule
from training.images.data_folder import open_data_folder
from training.images.file_source import FileLoading
from training.recipe import Recipe, read_recipe
from training.start import untrained
from training.trainer import Trainer

RESULT = Path("benchmarks/results/wall_time.json")
RECIPES = ("ofa", "compofa", "compofa-elastic", "fast")
SHORT, LONG = 3, 15


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("recipes", nargs="*", default=RECIPES)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    seconds: dict[tuple[str, str, int], list[float]] = defaultdict(list)
    for _ in range(given.rounds):
        for name in given.recipes:
            for steps in (SHORT, LONG):
                for phase, taken in _timed(read_recipe(name), steps, given.threads).items():
                    seconds[name, phase, steps].append(taken)
    hours = {name: _hours(read_recipe(name), seconds) for name in given.recipes}
    RESULT.write_text(json.dumps(hours, indent=1) + "\n", "utf-8")
    _print(hours)


def _timed(recipe: Recipe, steps: int, threads: int) -> dict[str, float]:
    """Seconds that each phase takes when it has only so many steps."""
    loading = FileLoading(Preprocessing(mean=recipe.mean, std=recipe.std), recipe.augmentation)
    data = open_data_folder(None, loading, validation_images=recipe.validation_images)
    start = untrained(recipe, len(data.labels)).supernet
    short = _shortened(recipe, steps, len(data.train))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "checkpoint.safetensors"
        trainer = Trainer(short, start, data.train, path, num_threads=threads)
        trainer.run(lambda _: None)
    return {phase.name: phase.hours * 3600 for phase in trainer.phases}


def _shortened(recipe: Recipe, steps: int, train_images: int) -> Recipe:
    epochs = steps / schedule.steps_per_epoch(recipe, train_images)
    phases = tuple(phase.model_copy(update={"epochs": epochs}) for phase in recipe.phases)
    return recipe.model_copy(update={"phases": phases})


def _hours(recipe: Recipe, seconds: dict[tuple[str, str, int], list[float]]) -> dict[str, float]:
    """Hours of each phase, worked out from a short and a longer one."""
    found = {}
    for phase in recipe.phases:
        short, long = (median(seconds[recipe.name, phase.name, n]) for n in (SHORT, LONG))
        step = (long - short) / (LONG - SHORT)
        steps = schedule.phase_steps(recipe, phase, 60_000 - recipe.validation_images)
        found[phase.name] = (short + step * (steps - SHORT)) / 3600
    return found


def _print(hours: dict[str, dict[str, float]]) -> None:
    whole = {name: sum(phases.values()) for name, phases in hours.items()}
    table = Table("recipe", "hours", *(f"of {name}'s" for name in whole), title="Wall time")
    for name, total in whole.items():
        ratios = (f"{total / other:.2f}" for other in whole.values())
        table.add_row(name, f"{total:.3f}", *ratios)
    Console().print(table)


if __name__ == "__main__":
    main()
