"""What each idea in the recipe `fast` is worth: the recipe with one thing changed at a time; and
what the settings that it was tried with do for its rival `compofa`.

    python benchmarks/studies/ablation.py [VARIANT…]
    make bench-train

Trains on a third of the images and evaluates on 2,500 of each split, for time's sake. Finished
variants (kept under `runs/ablation`) are not trained again; each one's figures are kept for
`make bench-train`, comparison `ablation`.
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
IMAGES, EVALUATION = 18_000, 2_500
RECIPE = "recipe"  # what is changed of the recipe itself, not of a phase
SANDWICH = ("largest", "smallest", "random")
IN_PLACE = {"distillation": 1.0, "distill_from": "first", "share_prefix": True}

Changes = dict[str, dict[str, Any] | None]
"""Fields by phase; a phase changed to None is left out."""

OF_FAST: dict[str, Changes] = {
    "fast": {},
    # what is trained when
    "not-delayed": {"grow": {"subnets": SANDWICH, "epochs": 4.2, **IN_PLACE}},
    "all-resolutions": {"grow": {"resolutions": (), "epochs": 3.25}},
    "no-ramp": {"shrink": {"ramp": 0.0}},
    "no-random": {"shrink": {"subnets": SANDWICH[:2]}},
    "two-random": {"shrink": {"subnets": (*SANDWICH, "random")}},
    "no-smallest": {"shrink": {"subnets": ("largest", "random", "random")}},
    # what subnets learn from
    "no-distillation": {"shrink": {"distillation": 0.0}, "fold": {"distillation": 0.0}},
    "teacher-alone": {"shrink": {"label_weight": 0.0}},
    "alpha-divergence": {"shrink": {"divergence": "alpha", "label_weight": 0.0}},
    # the fold phase
    "no-fold": {"fold": None},
    "fold-throughout": {"shrink": {"normalization": "piece-affine"}},
    "short-fold": {"shrink": {"epochs": 3.55}, "fold": {"epochs": 0.35}},
    # the optimizer, and what a step costs
    "average": {"shrink": {"ema": 0.999}},
    "weight-decay-1e-4": {RECIPE: {"weight_decay": 1e-4}},
    "batch-128": {RECIPE: {"batch_size": 128}},
    "no-shared-prefix": {"shrink": {"share_prefix": False}, "fold": {"share_prefix": False}},
}
OF_COMPOFA: dict[str, Changes] = {
    "compofa": {},
    "compofa-batch-128": {RECIPE: {"batch_size": 128}},
    "compofa-weight-decay-5e-4": {RECIPE: {"weight_decay": 5e-4}},
    "compofa-linear": {
        "teacher": {"decay": "linear"},
        "compound-1": {"decay": "linear"},
        "compound-2": {"decay": "linear"},
    },
}
VARIANTS = {name: ("fast", changes) for name, changes in OF_FAST.items()}
VARIANTS |= {name: ("compofa", changes) for name, changes in OF_COMPOFA.items()}


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
    recipe, changes = VARIANTS[name]
    fields = read_recipe(recipe).model_dump()
    left_out = {phase for phase, changed in changes.items() if changed is None}
    phases = [
        phase | (changes.get(phase["name"]) or {})
        for phase in fields["phases"]
        if phase["name"] not in left_out
    ]
    general = {
        "name": name, "seed": seed, "train_images": IMAGES, "evaluation_images": EVALUATION,
        "profile": False, "phases": phases,
    }  # fmt: skip
    return Recipe.model_validate(fields | (changes.get(RECIPE) or {}) | general)


if __name__ == "__main__":
    main()
