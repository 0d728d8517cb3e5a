"""`compofa train` and `compofa fold`: a recipe, and what else a run is given."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError
from rich.console import Console
from rich.table import Column, Table

from supernet.commandline import Parser
from supernet.manifest import read_manifest
from supernet.validation import first_error
from training.commands.options import add_data, add_threads, count, positive, positive_number
from training.recipe import Recipe, read_recipe, shipped_recipes

if TYPE_CHECKING:
    from supernet.manifest import Manifest
    from training.run import Setting


def add_parsers(commands: argparse._SubParsersAction[Parser]) -> None:
    """Add `train` and `fold` to the commands."""
    train = commands.add_parser("train", help="train a recipe into an artifact")
    train.add_argument("recipe", help=f"a TOML file, or one of: {', '.join(shipped_recipes())}")
    train.add_argument("--from", dest="start", type=Path, metavar="ARTIFACT", help="begin with it")
    train.add_argument("--subnet", metavar="ID", help="train this one subnet alone")
    train.add_argument(
        "--until", metavar="PHASE", help="stop after this phase; without it the run goes on"
    )
    train.add_argument("--seed", type=count, help="instead of the recipe's own")
    _add_run(train)
    train.set_defaults(command=_train)
    fold = commands.add_parser(
        "fold",
        help="give each piece of a net an affine of its own",
        description="Runs the fold phase on a net with batch-norm statistics, for instance an "
        "imported one, so that its pieces stand alone.",
    )
    fold.add_argument("artifact", type=Path)
    fold.add_argument("--epochs", type=positive_number, help="of the fold phase")
    fold.add_argument("--learning-rate", type=positive_number, help="its peak")
    _add_run(fold)
    fold.set_defaults(command=_fold)


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, help="folder of the run; runs/NAME by default")
    parser.add_argument(
        "--batch-size", type=positive, metavar="N", help="instead of the recipe's own"
    )
    parser.add_argument(
        "--no-mirror",
        action="store_true",
        help="for images with a left and a right, such as text, whatever the recipe says",
    )
    parser.add_argument(
        "--evaluation-images",
        type=positive,
        metavar="N",
        help="evaluate on only so many images of each held-out split",
    )
    add_data(parser)
    add_threads(parser)
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--tensorboard", type=Path, metavar="DIR", help="write scalars for it")
    parser.add_argument(
        "--country",
        metavar="ISO",
        help="three letters, such as DEU: whose electricity the CO2 is estimated with",
    )


def _train(arguments: argparse.Namespace) -> int:
    recipe = read_recipe(arguments.recipe)
    if arguments.seed is not None:
        recipe = recipe.model_copy(update={"seed": arguments.seed})
    recipe = _changed(recipe, arguments)
    out = arguments.out or Path("runs") / recipe.name
    setting = _setting(arguments, arguments.start, arguments.subnet, arguments.until)
    return _run(recipe, out, setting)


def _fold(arguments: argparse.Namespace) -> int:
    if read_manifest(arguments.artifact).normalization == "piece-affine":
        raise ValueError(f"artifact {arguments.artifact}: is folded already")
    recipe = _changed(read_recipe("fold"), arguments)
    changes = {"epochs": arguments.epochs, "learning_rate": arguments.learning_rate}
    given = {field: value for field, value in changes.items() if value is not None}
    phases = tuple(phase.model_copy(update=given) for phase in recipe.phases)
    out = arguments.out or Path("runs") / f"fold-{arguments.artifact.resolve().name}"
    setting = _setting(arguments, arguments.artifact)
    return _run(recipe.model_copy(update={"phases": phases}), out, setting)


def _changed(recipe: Recipe, arguments: argparse.Namespace) -> Recipe:
    """With what is given instead of the recipe's own, checked like that: micro-batches must
    divide the batch."""
    size = arguments.batch_size
    changes: dict[str, object] = {} if size is None else {"batch_size": size}
    if arguments.no_mirror:
        changes["mirror"] = False
    try:
        return Recipe.model_validate(recipe.model_dump() | changes)
    except ValidationError as error:
        raise ValueError(f"--batch-size {size}: {first_error(error)}") from None


def _setting(
    arguments: argparse.Namespace,
    start: Path | None,
    subnet: str | None = None,
    until: str | None = None,
) -> Setting:
    import torch

    from training.processes import local_device
    from training.run import Setting

    kind = arguments.device
    if kind == "auto":
        kind = "cuda" if torch.cuda.is_available() else "cpu"
    elif kind == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device cuda: this machine or this torch has no CUDA")
    return Setting(
        data=arguments.data,
        start=start,
        subnet=subnet,
        until=until,
        device=local_device(kind),
        num_threads=arguments.threads,
        num_workers=arguments.workers,
        evaluation_images=arguments.evaluation_images,
        tensorboard=arguments.tensorboard,
        country=arguments.country,
    )


def _run(recipe: Recipe, out: Path, setting: Setting) -> int:
    from training.run import run
    from training.run_folder import RunFolder

    manifest = run(recipe, out, setting)
    if manifest is not None:  # one of several processes speaks
        _print_frontier(manifest)
        print(f"artifact: {RunFolder(out).artifact}")
    return 0


def _print_frontier(manifest: Manifest) -> None:
    table = Table(
        Column("subnet", overflow="fold"),
        "validation",
        "test",
        "MMACs",
        "parameters",
        title="Pareto frontier",
    )
    for entry in manifest.catalog.frontier():
        test = "" if entry.test_accuracy is None else f"{entry.test_accuracy:.4f}"
        cost = (f"{entry.macs / 1e6:.2f}", f"{entry.parameters:,}")
        table.add_row(entry.subnet, f"{entry.accuracy:.4f}", test, *cost)
    Console().print(table)
