"""The training side's commands: train, calibrate, evaluate, profile."""

from __future__ import annotations

import argparse
import json
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from supernet.architecture import Architecture
from supernet.commandline import Parser
from supernet.commandline import run as run_command
from supernet.design_space import DesignSpace
from supernet.durable import write_file
from supernet.latency import LatencyTable, check_device_class, read_bundled_tables
from supernet.manifest import Manifest
from training import cli_export
from training.calibrate import CALIBRATION_IMAGES
from training.data import LABELS, Dataset, load_fashion_mnist
from training.recipe import read_recipe, shipped_recipes

Deliver = Callable[[LatencyTable], str]
"""Puts a measured table where it is used from, and says where that is."""


def main(argv: Sequence[str], prog: str = "compofa", deliver: Deliver | None = None) -> int:
    """Run one command; `argv` begins with its name. Returns the exit status.

    `deliver` takes the table of `profile` where no file is named: stores are not this side's.
    """
    arguments = _parser(prog).parse_args(argv, argparse.Namespace(deliver=deliver))
    return run_command(arguments.command, arguments)


def _parser(prog: str) -> Parser:
    parser = Parser(prog=prog, description=__doc__)
    commands = parser.add_subparsers(required=True, parser_class=Parser, metavar="COMMAND")
    _add_train(commands.add_parser("train", help="train a recipe into an artifact"))
    _add_calibrate(commands.add_parser("calibrate", help="measure batch-norm statistics again"))
    _add_evaluate(commands.add_parser("evaluate", help="measure the accuracy of subnets"))
    _add_profile(commands.add_parser("profile", help="measure latencies on this CPU"))
    cli_export.add_parsers(commands)
    return parser


def _add_train(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", help=f"a TOML file, or one of: {', '.join(shipped_recipes())}")
    parser.add_argument("--out", type=Path, help="folder of the run; runs/RECIPE by default")
    _add_data(parser)
    _add_threads(parser, len(os.sched_getaffinity(0)))
    parser.set_defaults(command=_train)


def _add_calibrate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("artifact", type=Path)
    parser.add_argument(
        "--images", type=_positive, default=CALIBRATION_IMAGES, help="training images to measure on"
    )
    _add_data(parser)
    parser.set_defaults(command=_calibrate)


def _add_evaluate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("artifact", type=Path)
    parser.add_argument(
        "--subnet", action="append", help="a subnet id, again for more; all by default"
    )
    parser.add_argument("--split", choices=["validation", "test"], default="test")
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    _add_data(parser)
    _add_threads(parser, len(os.sched_getaffinity(0)))
    parser.set_defaults(command=_evaluate)


def _add_profile(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("artifact", type=Path)
    parser.add_argument("--device-class", required=True)
    parser.add_argument("--out", type=Path, help="write the table to a file, not to the store")
    parser.add_argument("--runs", type=_positive, default=20, help="timed runs a subnet")
    parser.add_argument("--default-budget-ms", type=_milliseconds)
    parser.add_argument("--subnet", action="append", help="a subnet id; all by default")
    _add_threads(parser, 1)
    parser.set_defaults(command=_profile)


def _add_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, help="folder with Fashion-MNIST's four .gz files")


def _add_threads(parser: argparse.ArgumentParser, default: int) -> None:
    parser.add_argument("--threads", type=_positive, default=default)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number from 1")
    return int(text)


def _milliseconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0.0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a positive number of milliseconds")
    return value


def _train(arguments: argparse.Namespace) -> int:
    from training.run import RunFolder, run

    recipe = read_recipe(arguments.recipe)
    out = arguments.out or Path("runs") / recipe.name
    manifest = run(recipe, out, arguments.data, arguments.threads)
    table = Table("subnet", "validation", "test", "MMACs", "parameters", title="Pareto frontier")
    for entry in manifest.catalog.frontier():
        accuracies = [f"{a:.4f}" for a in (entry.accuracy, entry.test_accuracy) if a is not None]
        table.add_row(entry.subnet, *accuracies, f"{entry.macs / 1e6:.2f}", f"{entry.parameters:,}")
    Console().print(table)
    print(f"artifact: {RunFolder(out).artifact}")
    return 0


def _calibrate(arguments: argparse.Namespace) -> int:
    from supernet import artifact
    from training.augment import Transform
    from training.run import calibrate_all

    loaded = artifact.load(arguments.artifact)
    manifest = loaded.manifest
    if manifest.normalization == "piece-affine":
        raise ValueError(
            f"artifact {arguments.artifact}: is folded: it has no batch-norm statistics to measure"
        )
    transform = Transform(manifest.preprocessing)
    calibrate_all(loaded.supernet, _dataset(arguments, manifest), transform, 0, arguments.images)
    description = artifact.Description.of(manifest)
    artifact.save(
        arguments.artifact,
        loaded.supernet,
        description,
        read_bundled_tables(arguments.artifact),
    )
    print(f"calibrated {loaded.supernet.space.size()} subnets")
    return 0


def _evaluate(arguments: argparse.Namespace) -> int:
    from supernet import artifact
    from training.augment import Transform
    from training.evaluate import accuracies
    from training.report import track

    loaded = artifact.load(arguments.artifact)
    space = loaded.supernet.space
    archs = _architectures(arguments, space)
    images = getattr(_dataset(arguments, loaded.manifest), arguments.split)
    transform = Transform(loaded.manifest.preprocessing)
    with track("evaluate", len(images) * len({a.resolution for a in archs})) as advance:
        found = accuracies(
            loaded.supernet,
            images,
            transform,
            archs,
            num_threads=arguments.threads,
            advance=advance,
        )
    _print_accuracies(found, arguments.split, as_json=arguments.json)
    return 0


def _print_accuracies(found: dict[Architecture, float], split: str, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps([{"subnet": a.id, "accuracy": v} for a, v in found.items()]))
        return
    table = Table("subnet", f"accuracy ({split})")
    for arch, accuracy in found.items():
        table.add_row(arch.id, f"{accuracy:.4f}")
    Console().print(table)


def _profile(arguments: argparse.Namespace) -> int:
    from supernet import artifact
    from training.profile import profile
    from training.report import track

    check_device_class(arguments.device_class)
    if arguments.out is None and arguments.deliver is None:
        raise ValueError("--out: expected the file to write the latency table to")
    loaded = artifact.load(arguments.artifact)
    archs = _architectures(arguments, loaded.supernet.space)
    with track("profile", len(archs)) as advance:
        table = profile(
            loaded,
            arguments.device_class,
            num_threads=arguments.threads,
            runs=arguments.runs,
            default_budget_ms=arguments.default_budget_ms,
            archs=archs,
            advance=advance,
        )
    if arguments.out is None:
        print(arguments.deliver(table))
    else:
        write_file(arguments.out, table.model_dump_json(indent=1).encode() + b"\n")
    return 0


def _architectures(arguments: argparse.Namespace, space: DesignSpace) -> list[Architecture]:
    """The subnets that were asked for, checked, or all of them."""
    if not arguments.subnet:
        return list(space.enumerate())
    archs = [Architecture.parse(subnet) for subnet in arguments.subnet]
    for arch in archs:
        space.check(arch)
    return archs


def _dataset(arguments: argparse.Namespace, manifest: Manifest) -> Dataset:
    """The data set with the validation split that the artifact was trained beside."""
    if manifest.labels != LABELS:
        raise ValueError(f"artifact {arguments.artifact}: its labels are not Fashion-MNIST's")
    held_out = manifest.ledger.validation_images if manifest.ledger else 5000
    return load_fashion_mnist(arguments.data, held_out)
