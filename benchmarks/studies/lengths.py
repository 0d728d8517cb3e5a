"""What accuracy costs: recipes with all their epochs multiplied, to see where two are equal.

    python benchmarks/studies/lengths.py [RECIPE FACTOR]…
    make bench-train

At one length only, a recipe that costs less and reaches less can be called neither better nor
worse. The figures join the recipes' own runs in `make bench-train`, comparison `fashion-mnist`;
finished runs (kept under `runs/lengths`) are not trained again.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from kept_run import train_and_keep

from training.recipe import Recipe, read_recipe

RUNS = Path("runs/lengths")
LENGTHS = (("fast", 1.5), ("fast", 2.0), ("compofa", 0.5))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("lengths", nargs="*", metavar="RECIPE FACTOR", help=f"by default {LENGTHS}")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    if len(given.lengths) % 2:
        parser.error("expected a factor after each recipe")
    pairs = zip(given.lengths[::2], map(float, given.lengths[1::2]), strict=True)
    for name, factor in list(pairs) or LENGTHS:
        recipe = stretched(read_recipe(name), factor).model_copy(update={"seed": given.seed})
        out = RUNS / f"{recipe.name}-{given.seed}"
        command = f"python benchmarks/studies/lengths.py {name} {factor:g} --seed {given.seed}"
        train_and_keep(recipe, out, "fashion-mnist", command, given.threads)


def stretched(recipe: Recipe, factor: float) -> Recipe:
    """The recipe with all epochs multiplied by `factor`."""
    phases = tuple(p.model_copy(update={"epochs": p.epochs * factor}) for p in recipe.phases)
    return recipe.model_copy(update={"name": f"{recipe.name}-x{factor:g}", "phases": phases})


if __name__ == "__main__":
    main()
