"""The published schedule with the optimizer of `fast`, so that neither is taken for the other.

    python benchmarks/studies/rival_with_muon.py
    make bench-train

`compofa` is compared as published, with SGD. This is its recipe with the Muon of `fast` and nothing
else changed; its figures join the recipes' own, as `compofa-muon`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from kept_run import train_and_keep

from training.recipe import read_recipe

RUNS = Path("runs/rivals")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    changes = {"name": "compofa-muon", "muon": read_recipe("fast").muon, "seed": given.seed}
    recipe = read_recipe("compofa").model_copy(update=changes | {"profile": False})
    command = f"python benchmarks/studies/rival_with_muon.py --seed {given.seed}"
    out = RUNS / f"{recipe.name}-{given.seed}"
    train_and_keep(recipe, out, "fashion-mnist", command, given.threads)


if __name__ == "__main__":
    main()
