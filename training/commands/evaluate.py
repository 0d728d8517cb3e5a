"""`compofa calibrate` and `compofa evaluate`: an artifact's numbers, measured on images."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from supernet.architecture import Architecture
from supernet.catalog import Catalog
from supernet.commandline import Parser, warn
from supernet.latency import read_bundled_tables
from training.commands.options import add_data, add_threads, positive

if TYPE_CHECKING:
    from supernet.artifact import Artifact
    from training.images.data import Dataset, ImageSource

_SPLITS = ("validation", "test")
_UNCALIBRATED = (
    "compofa: all subnets share these batch-norm statistics: measure each one's own with "
    "'compofa calibrate' first"
)


def add_parsers(commands: argparse._SubParsersAction[Parser]) -> None:
    """Add `calibrate` and `evaluate` to the commands."""
    _add_calibrate(
        commands.add_parser(
            "calibrate",
            help="measure batch-norm statistics per subnet",
            description="Measures batch-norm statistics per subnet on training images, for nets "
            "that are not folded: those trained without a fold phase, and imported ones.",
        )
    )
    _add_evaluate(
        commands.add_parser(
            "evaluate",
            help="measure the accuracy of subnets",
            description="Measures the top-1 accuracy of subnets on a held-out split.",
        )
    )


def _add_calibrate(parser: argparse.ArgumentParser) -> None:
    _add_common(parser)
    parser.add_argument(
        "--images", type=positive, metavar="N", help="training images to measure on; 2000"
    )
    parser.set_defaults(command=_calibrate)


def _add_evaluate(parser: argparse.ArgumentParser) -> None:
    _add_common(parser)
    parser.add_argument("--split", choices=_SPLITS, help="test where the data have one, by default")
    parser.add_argument(
        "--images", type=positive, metavar="N", help="only so many, evenly over the classes"
    )
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    parser.add_argument(
        "--write", action="store_true", help="put the accuracies into the artifact's catalog"
    )
    parser.set_defaults(command=_evaluate)


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("artifact", type=Path)
    parser.add_argument(
        "--subnet", action="append", metavar="ID", help="again for more; all by default"
    )
    add_data(parser)
    parser.add_argument(
        "--unreadable",
        choices=("refuse", "skip"),
        default="refuse",
        help="what to do about a file that holds no whole image; refuse by default",
    )
    add_threads(parser)


def _calibrate(arguments: argparse.Namespace) -> int:
    import torch

    from supernet import artifact
    from training.calibrate import CALIBRATION_IMAGES, calibrate_from
    from training.evaluate import asked_for, by_resolution, is_calibrated
    from training.report import track

    loaded = artifact.load(arguments.artifact)
    supernet, catalog = loaded.supernet, loaded.manifest.catalog
    if loaded.manifest.normalization == "piece-affine":
        raise ValueError(
            f"artifact {arguments.artifact}: is folded: it has no batch-norm statistics to measure"
        )
    archs = asked_for(arguments.subnet, supernet.space)
    train = _dataset(arguments, loaded).train
    images = min(arguments.images or CALIBRATION_IMAGES, len(train))
    torch.set_num_threads(arguments.threads)
    with track("calibrate", images * len(by_resolution(archs))) as advance:
        calibrate_from(supernet, train, images=images, archs=archs, advance=advance)
    _say_skipped(train)
    # Statistics of its own have taken the place of shared ones, which any subnet could use.
    kept = tuple(
        e for e in catalog.entries if is_calibrated(supernet, Architecture.parse(e.subnet))
    )
    _save(arguments.artifact, loaded, Catalog(entries=kept, predicted_by=catalog.predicted_by))
    print(f"calibrated {len(archs)} subnets on {images} images")
    if len(kept) < len(catalog):
        print(f"{len(catalog) - len(kept)} subnets without statistics are no longer listed")
    return 0


def _evaluate(arguments: argparse.Namespace) -> int:
    from supernet import artifact
    from training.evaluate import accuracies, asked_for, by_resolution, with_accuracies
    from training.report import track

    loaded = artifact.load(arguments.artifact)
    supernet, catalog = loaded.supernet, loaded.manifest.catalog
    archs = asked_for(arguments.subnet or list(catalog.subnets()), supernet.space)
    split, source = _split(arguments, _dataset(arguments, loaded))
    images = min(arguments.images or len(source), len(source))
    if loaded.manifest.normalization == "shared-statistics":
        print(_UNCALIBRATED, file=sys.stderr)
    if arguments.write:  # what it would refuse is told before an hour of measuring
        with_accuracies(catalog, supernet.space, **{split: dict.fromkeys(archs, 0.0)})
    with track("evaluate", images * len(by_resolution(archs))) as advance:
        found = accuracies(
            supernet,
            source,
            archs,
            images=images,
            num_threads=arguments.threads,
            advance=advance,
        )
    _say_skipped(source)
    if arguments.write:
        _save(
            arguments.artifact, loaded, with_accuracies(catalog, supernet.space, **{split: found})
        )
    _print_accuracies(found, split, images, as_json=arguments.json)
    return 0


def _split(arguments: argparse.Namespace, dataset: Dataset) -> tuple[str, ImageSource]:
    """The name of the split that was asked for, and its images."""
    if arguments.split == "validation" or (arguments.split is None and dataset.test is None):
        return "validation", dataset.validation
    if dataset.test is None:
        raise ValueError(f"data set {arguments.data}: has no test split: use --split validation")
    return "test", dataset.test


def _dataset(arguments: argparse.Namespace, loaded: Artifact) -> Dataset:
    """The images, with the validation split that the artifact was trained beside."""
    from training.images.data_folder import open_data_folder
    from training.images.file_source import FileLoading

    manifest = loaded.manifest
    loading = FileLoading(
        manifest.preprocessing, unreadable=arguments.unreadable, num_workers=arguments.workers
    )
    return open_data_folder(
        arguments.data,
        loading,
        validation_images=manifest.ledger.validation_images if manifest.ledger else None,
        labels=manifest.labels,
    )


def _say_skipped(source: ImageSource) -> None:
    """How many files could not be read; each has been named when it was met."""
    from training.images.file_source import FileSource

    if isinstance(source, FileSource) and source.unreadable:
        warn(f"skipped {len(source.unreadable)} unreadable files")


def _save(folder: Path, loaded: Artifact, catalog: Catalog) -> None:
    """Write the artifact again, in one step, with its tables."""
    from supernet import artifact

    description = replace(artifact.Description.of(loaded), catalog=catalog)
    artifact.save(folder, loaded.supernet, description, read_bundled_tables(folder))


def _print_accuracies(
    found: dict[Architecture, float], split: str, images: int, *, as_json: bool
) -> None:
    if as_json:
        print(json.dumps([{"subnet": a.id, "accuracy": v} for a, v in found.items()]))
        return
    table = Table()
    table.add_column("subnet", overflow="fold")  # an id that is cut is none
    table.add_column(f"accuracy ({split}, {images:,} images)")
    for arch, accuracy in found.items():
        table.add_row(arch.id, f"{accuracy:.4f}")
    Console().print(table)
