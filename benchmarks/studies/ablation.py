"""What each idea in the recipe `fast` is worth: the recipe with one thing changed at a time.

    python benchmarks/studies/ablation.py [VARIANT…]
    make bench-train

Trains on a third of the images for time's sake (kept under `runs/ablation`, finished variants are
not trained again) and keeps each variant's figures for `make bench-train`, comparison `ablation`.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from training.costs.comparison import collect
from training.recipe import Recipe, read_recipe
from training.run import Setting, run
from training.run_folder import RunFolder

RUNS = Path("runs/ablation")
KEPT = Path("docs/training/runs/ablation")
IMAGES = 18_000
SANDWICH = ("largest", "smallest", "random")

VARIANTS: dict[str, dict[str, dict[str, Any]]] = {
    "fast": {},
    "not-delayed": {"grow": {"subnets": SANDWICH, "distillation": 1.0, "distill_from": "first"}},
    "no-ramp": {"shrink": {"ramp": 0.0}},
    "no-distillation": {"shrink": {"distillation": 0.0}, "fold": {"distillation": 0.0}},
    "teacher-alone": {"shrink": {"label_weight": 0.0}},
    "alpha-divergence": {"shrink": {"divergence": "alpha", "label_weight": 0.0}},
    "no-random": {"shrink": {"subnets": SANDWICH[:2]}},
    "two-random": {"shrink": {"subnets": (*SANDWICH, "random")}},
    "no-smallest": {"shrink": {"subnets": ("largest", "random", "random")}},
    "average": {"shrink": {"ema": 0.999}},
    "shared-prefix": {"shrink": {"share_prefix": True}},
    "long-fold": {"shrink": {"epochs": 2.0}, "fold": {"epochs": 1.25}},
    "short-fold": {"shrink": {"epochs": 3.0}, "fold": {"epochs": 0.25}},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("variants", nargs="*", help=f"all of: {', '.join(VARIANTS)}")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    for name in given.variants or VARIANTS:
        out = RUNS / f"{name}-{given.seed}"
        if not RunFolder(out).artifact.exists():
            run(_variant(name, given.seed), out, Setting(num_threads=given.threads))
        command = f"python benchmarks/studies/ablation.py {name} --seed {given.seed}"
        collect(out, KEPT / f"{name}-seed{given.seed}", command)


def _variant(name: str, seed: int) -> Recipe:
    """The recipe `fast` with the variant's changes to its phases."""
    fields = read_recipe("fast").model_dump()
    for phase in fields["phases"]:
        phase |= VARIANTS[name].get(phase["name"], {})
    general = {"name": name, "seed": seed, "train_images": IMAGES, "profile": False}
    return Recipe.model_validate(fields | general)


if __name__ == "__main__":
    main()
