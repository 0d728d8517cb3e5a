"""What each idea in the recipe `fast` is worth: the recipe with one thing changed at a time.

    python benchmarks/studies/ablation.py [VARIANT…]
    make bench-train

On all images and for as many steps as the recipe: on a third of them the net is so far from done
that the same changes came out in another order. Variants whose steps cost more or less get fewer
or more, so that all cost about the same. Those that change nothing of the first phase share it:
they go on from one net, whose cost counts for each. Every tenth subnet is evaluated, on all images;
`as-it-is` takes those of the recipe's own kept run. Finished variants (kept under `runs/ablation`)
are not trained again; each one's figures are kept for `make bench-train`, comparison `ablation`.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import Any

from kept_run import KEPT, branch, train_and_keep

from training.costs.estimate import estimate
from training.recipe import Recipe, read_recipe
from training.run import Setting, run
from training.run_folder import RunFolder

RUNS = Path("runs/ablation")
TRAIN_IMAGES = 55_000
SHARED = "grow"
EVERY = 10  # n-th subnet: no multiple of the three depths, so that units take all of them
OWN = "fashion-mnist"  # the comparison with the recipe's own runs
RECIPE = "recipe"  # what is changed of the recipe itself, not of a phase
SANDWICH = ("largest", "smallest", "random")
MUON = {"learning_rate": 0.05, "weight_decay": 0.06, "iterations": 3}
IN_PLACE = {"distillation": 1.0, "distill_from": "first", "share_prefix": True}

Changes = dict[str, dict[str, Any] | None]
"""Fields by phase; a phase changed to None is left out. The first phase changed, or all where it is
the recipe, gets so many epochs that all costs what the recipe does."""

VARIANTS: dict[str, Changes] = {
    # what is trained when
    "not-delayed": {
        "grow": {"subnets": SANDWICH, **IN_PLACE},
        "shrink": {"sort_channels": False},  # would undo what smaller ones have learnt
    },
    "small-images": {"grow": {"resolutions": (16,)}},
    "not-sorted": {"shrink": {"sort_channels": False}},
    "no-ramp": {"shrink": {"ramp": 0.0}},
    "no-smallest": {"shrink": {"subnets": ("largest", "random", "random")}},
    # what subnets learn from
    "no-distillation": {"shrink": {"distillation": 0.0}, "fold": {"distillation": 0.0}},
    "alpha-divergence": {"shrink": {"divergence": "alpha", "label_weight": 0.0}},
    # the fold phase
    "no-fold": {"shrink": {"final_learning_rate": 0.0}, "fold": None},
    "fold-early": {
        "fold": {"learning_rate": 0.033},  # first: it is what gets the epochs that the other loses
        "shrink": {"epochs": 1.6, "final_learning_rate": 0.033},
    },
    "fold-late": {
        "shrink": {"final_learning_rate": 0.0056},
        "fold": {"epochs": 0.2, "learning_rate": 0.0056},
    },
    "fold-by-sgd": {"fold": {"muon": False}},
    "fold-throughout": {"shrink": {"normalization": "piece-affine"}},
    # images and weights
    "sgd": {RECIPE: {"muon": None}},
    "muon-faster": {RECIPE: {"muon": {**MUON, "learning_rate": 0.1, "weight_decay": 0.03}}},
    "light-decay": {RECIPE: {"weight_decay": 1e-4, "muon": {**MUON, "weight_decay": 0.02}}},
    "shifts": {RECIPE: {"crop_padding": 2}},
    "mirrored": {RECIPE: {"mirror": True}},
    "average": {"shrink": {"ema": 0.999}},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("variants", nargs="*", help=f"all of: {', '.join(VARIANTS)}")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    for name in given.variants or VARIANTS:
        out = RUNS / f"{name}-{given.seed}"
        command = f"python benchmarks/studies/ablation.py {name} --seed {given.seed}"
        recipe = _variant(name, given.seed)
        if SHARED not in VARIANTS[name] and RECIPE not in VARIANTS[name] and not out.exists():
            branch(_grown(given.seed, given.threads), recipe, RunFolder(out))
        train_and_keep(recipe, out, "ablation", command, given.threads, EVERY)
    _keep_own(given.seed)


def _keep_own(seed: int) -> None:
    """The recipe's own run, with the subnets that the variants are evaluated by."""
    own, kept = (KEPT / comparison for comparison in (OWN, "ablation"))
    shutil.copytree(own / f"fast-seed{seed}", kept / f"as-it-is-seed{seed}", dirs_exist_ok=True)
    catalog = kept / f"as-it-is-seed{seed}" / "catalog.csv"
    heading, *rows = catalog.read_text("utf-8").splitlines(keepends=True)
    catalog.write_text("".join([heading, *rows[::EVERY]]), "utf-8")


def _grown(seed: int, threads: int) -> RunFolder:
    """A run of the recipe as it is that has ended after its first phase."""
    folder = RunFolder(RUNS / f"grown-{seed}")
    if not folder.artifact.exists():
        few = Setting(until=SHARED, num_threads=threads, evaluation_images=100)
        recipe = read_recipe("fast").model_copy(update={"seed": seed, "profile": False})
        run(recipe, folder.path, few)
    return folder


def _variant(name: str, seed: int) -> Recipe:
    changes = VARIANTS[name]
    fields = read_recipe("fast").model_dump()
    left_out = {phase for phase, changed in changes.items() if changed is None}
    phases = [
        phase | (changes.get(phase["name"]) or {})
        for phase in fields["phases"]
        if phase["name"] not in left_out
    ]
    general = {"name": name, "seed": seed, "profile": False, "phases": phases}
    recipe = Recipe.model_validate(fields | (changes.get(RECIPE) or {}) | general)
    return _at_the_cost_of(read_recipe("fast"), recipe, next(iter(changes)))


def _at_the_cost_of(target: Recipe, recipe: Recipe, stretched: str) -> Recipe:
    """The recipe with the epochs of a phase, or of all where `stretched` is the recipe, such that
    all its training MACs are those of `target`."""
    cost = estimate(recipe, TRAIN_IMAGES)
    missing = estimate(target, TRAIN_IMAGES).total.macs - cost.total.macs
    names = [c.name for c in cost.phases if stretched in (c.name, RECIPE)]
    factor = 1 + missing / sum(c.macs for c in cost.phases if c.name in names)
    phases = (
        p.model_copy(update={"epochs": p.epochs * (factor if p.name in names else 1.0)})
        for p in recipe.phases
    )
    return recipe.model_copy(update={"phases": tuple(phases)})


if __name__ == "__main__":
    main()
