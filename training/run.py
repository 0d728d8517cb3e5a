"""A recipe from start to finish: train, make runnable, evaluate, profile, write the artifact."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console

from supernet import artifact
from supernet.artifact import Artifact, Description
from supernet.catalog import Catalog
from supernet.manifest import Ledger, Manifest, Preprocessing
from supernet.model import Supernet
from supernet.normalization import BatchNormalization
from supernet.presets import design_space
from training import ledger
from training.calibrate import calibrate_from
from training.data import Dataset
from training.data_folder import open_data_folder
from training.energy import EnergyMeter
from training.evaluate import build_catalog
from training.file_source import FileLoading
from training.processes import Processes, processes
from training.profile import profile
from training.recipe import Recipe
from training.reference import REFERENCE_CLASS, reference_tables
from training.report import RunReport, track
from training.start import Start, from_artifact, untrained
from training.trainer import Trainer


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Where a run keeps its state and leaves its result."""

    path: Path

    @property
    def checkpoint(self) -> Path:
        return self.path / "checkpoint.pt"

    @property
    def log(self) -> Path:
        return self.path / "log.jsonl"

    @property
    def artifact(self) -> Path:
        return self.path / "artifact"


@dataclass(frozen=True, slots=True)
class Setting:
    """What a run is given besides its recipe. Only `start` and `subnet` decide its result.

    `data` is the images' folder (None: look for Fashion-MNIST), `start` an artifact to begin
    with, `subnet` the id of the one subnet of it to train, `num_workers` processes that load
    image files, `country` where the electricity comes from.
    """

    data: Path | None = None
    start: Path | None = None
    subnet: str | None = None
    device: torch.device = torch.device("cpu")
    num_threads: int = 1
    num_workers: int = 0
    tensorboard: Path | None = None
    country: str | None = None


def run(recipe: Recipe, out: Path, setting: Setting) -> Manifest | None:
    """Train `recipe` into `out`, going on where an interrupted run stopped.

    Returns what was written, in the first process; None in the others. Raises `ValueError` for
    bad input.
    """
    beginning = artifact.load(setting.start) if setting.start else None
    preprocessing = _preprocessing(recipe, beginning)
    dataset = _dataset(recipe, setting, preprocessing, beginning)
    start = _start(recipe, setting.subnet, beginning, len(dataset.labels))
    out.mkdir(parents=True, exist_ok=True)
    with processes(setting.device) as group, EnergyMeter(setting.country) as meter:
        trainer = Trainer(
            recipe,
            start.supernet,
            dataset.train,
            RunFolder(out).checkpoint,
            identity=start.identity,
            teacher=start.teacher,
            num_threads=setting.num_threads,
            device=setting.device,
            processes=group,
            meter=meter,
        )
        _train(trainer, RunFolder(out).log, setting.tensorboard, group)
    if not group.is_first:
        return None
    supernet = trainer.supernet.cpu().eval()
    description = Description(
        name=start.name,
        preprocessing=preprocessing,
        labels=dataset.labels,
        catalog=_catalog(supernet, dataset, recipe.seed, setting.num_threads),
        ledger=ledger.build(
            recipe,
            trainer.phases,
            train_images=len(dataset.train),
            validation_images=len(dataset.validation),
            threads=setting.num_threads,
            processes=group.count,
            device=setting.device,
            start=beginning and f"{beginning.manifest.name} {beginning.manifest.artifact_hash}",
            energy_source=meter.read().source,
        ),
    )
    ledger.print_account(description.ledger, expected, console)
    return _written(RunFolder(out).artifact, supernet, description, profiled=recipe.profile)


def _preprocessing(recipe: Recipe, beginning: Artifact | None) -> Preprocessing:
    """The recipe's own, or else that of the artifact it begins with."""
    if beginning is None or recipe.mean:
        return Preprocessing(mean=recipe.mean, std=recipe.std)
    return beginning.manifest.preprocessing


def _dataset(
    recipe: Recipe, setting: Setting, preprocessing: Preprocessing, beginning: Artifact | None
) -> Dataset:
    if recipe.dataset == "image-folder" and setting.data is None:
        raise ValueError(f"recipe {recipe.name}: give --data with a folder of images")
    loading = FileLoading(
        preprocessing,
        min_scale=recipe.min_scale,
        colour_jitter=recipe.colour_jitter,
        unreadable=recipe.unreadable_images,
        num_workers=setting.num_workers,
    )
    known = None if beginning is None or recipe.new_classifier else beginning.manifest.labels
    return open_data_folder(
        setting.data,
        loading,
        validation_images=recipe.validation_images,
        train_images=recipe.train_images,
        crop_padding=recipe.crop_padding,
        labels=known,
    )


def _start(recipe: Recipe, subnet: str | None, beginning: Artifact | None, classes: int) -> Start:
    if beginning is not None:
        return from_artifact(beginning, recipe, subnet, classes)
    return untrained(recipe, classes, subnet)


def _train(trainer: Trainer, log: Path, tensorboard: Path | None, group: Processes) -> None:
    if not group.is_first:
        trainer.run(lambda _: None)
        return
    with RunReport(log, tensorboard) as report:
        trainer.run(report)


def _catalog(supernet: Supernet, dataset: Dataset, seed: int, num_threads: int) -> Catalog:
    """Accuracies of all that the catalog lists, measured after statistics where it takes them."""
    if isinstance(supernet.normalization, BatchNormalization):
        calibrate_from(supernet, dataset.train, seed)
    return build_catalog(supernet, dataset, num_threads=num_threads)


def _written(
    folder: Path, supernet: Supernet, description: Description, *, profiled: bool
) -> Manifest:
    """The artifact, with the latency tables of this machine where they are asked for."""
    manifest = artifact.save(folder, supernet, description)
    if not profiled:
        return manifest
    with track("profile", len(description.catalog)) as advance:
        table = profile(artifact.load(folder), REFERENCE_CLASS, num_threads=1, advance=advance)
    tables = reference_tables(table, description.catalog)
    return artifact.save(folder, supernet, description, tables)
