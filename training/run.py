"""A recipe from start to finish: train, make runnable, evaluate, profile, write the artifact."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

import torch
from rich.console import Console

from supernet import artifact
from supernet.artifact import Artifact, Description
from supernet.catalog import Catalog
from supernet.latency import TABLES_FOLDER
from supernet.manifest import AnyPreprocessing, ArtifactError, Ledger, Manifest, Preprocessing
from supernet.model import Supernet
from supernet.normalization import BatchNormalization, PieceAffine
from training.calibrate import CALIBRATION_IMAGES, calibrate_from
from training.costs import ledger
from training.costs.energy import EnergyMeter
from training.costs.estimate import Estimate, print_estimate
from training.costs.rate import training_rate
from training.evaluate import build_catalog
from training.images.data import Dataset
from training.images.data_folder import holds_fashion_mnist, open_data_folder
from training.images.file_source import FileLoading
from training.processes import Processes, processes
from training.profiles.profile import profile
from training.recipe import Recipe
from training.reference import REFERENCE_CLASS, reference_tables
from training.report import RunReport, track
from training.run_folder import RunFolder, stopped
from training.start import Start, from_artifact, untrained
from training.text import words
from training.trainer import Trainer


@dataclass(frozen=True, slots=True)
class Setting:
    """What a run is given besides its recipe. `data`, `start`, `subnet` and `until` decide
    its result.

    `data` is the images' folder (None: look for Fashion-MNIST), `start` an artifact to begin
    with, `subnet` the id of the one subnet of it to train, `until` the phase to stop after,
    `num_workers` processes that load image files, `evaluation_images` how many of each held-out
    split count (None: the recipe's word), `country` where the electricity comes from.
    """

    data: Path | None = None
    start: Path | None = None
    subnet: str | None = None
    until: str | None = None
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    num_threads: int = 1
    num_workers: int = 0
    evaluation_images: int | None = None
    tensorboard: Path | None = None
    country: str | None = None


def run(recipe: Recipe, out: Path, setting: Setting) -> Manifest | None:
    """Train `recipe` into `out`, going on where an interrupted run stopped.

    Says on standard error what it will cost and what it has cost. Returns what was written, in
    the first process; None in the others. Raises `ValueError` for bad input.
    """
    part = recipe.until(setting.until) if setting.until else recipe
    if recipe.design_space is None and setting.start is None:
        raise ValueError(f"recipe {recipe.name}: has no design_space: give --from ARTIFACT")
    beginning = artifact.load(setting.start) if setting.start else None
    preprocessing = _preprocessing(recipe, beginning)
    dataset = _dataset(recipe, setting, preprocessing, beginning)
    start = _start(part, setting.subnet, beginning, len(dataset.labels))
    artifact.check_place(RunFolder(out).artifact)
    with processes(setting.device) as group, RunFolder(out).held(group):
        done = _train(recipe, part, RunFolder(out), setting, start, dataset, group)
    if done is None:
        return None
    kept = _finished(RunFolder(out).artifact, done.ledger, profiled=recipe.profile)
    if kept is not None:
        print(f"run {out}: finished before; its artifact is as it was", file=sys.stderr)
        return kept
    description = Description(
        name=start.name,
        preprocessing=preprocessing,
        labels=dataset.labels,
        catalog=_catalog(done.supernet, dataset, done.ledger),
        ledger=done.ledger,
    )
    ledger.print_account(done.ledger, done.expected, Console(stderr=True))
    return _written(RunFolder(out).artifact, done.supernet, description, profiled=recipe.profile)


@dataclass(frozen=True, slots=True)
class _Trained:
    """The net on the CPU, what it cost and what was expected."""

    supernet: Supernet
    ledger: Ledger
    expected: Estimate


def _train(
    recipe: Recipe,
    part: Recipe,
    folder: RunFolder,
    setting: Setting,
    start: Start,
    dataset: Dataset,
    group: Processes,
) -> _Trained | None:
    """The phases of `part`, what is to be done of the recipe now; what comes of them in the first
    of the processes."""
    where = ledger.hardware(setting.device, group.count)
    with EnergyMeter(setting.country) as meter:
        trainer = Trainer(
            recipe,
            start.supernet,
            dataset.train,
            folder.checkpoint,
            identity=f"{start.identity} on {dataset.identity}",
            setting=ledger.setting(where, group.count, setting.num_threads, recipe.precision),
            until=setting.until,
            teacher=start.teacher,
            num_threads=setting.num_threads,
            device=setting.device,
            processes=group,
            meter=meter,
        )
        if not group.is_first:
            trainer.run(lambda _: None)
            return None
        expected = _say_cost(part, start, len(dataset.train), setting, group)
        meter.since_last()  # what the estimate took is not the run's
        with RunReport(folder.log, setting.tensorboard) as report, stopped(trainer.stop, group):
            trainer.run(report)
    written = ledger.build(
        part,
        trainer.phases,
        train_images=len(dataset.train),
        validation_images=len(dataset.validation),
        evaluation_images=setting.evaluation_images or recipe.evaluation_images,
        threads=setting.num_threads,
        processes=group.count,
        device=setting.device,
        start=start.origin,
        energy_source=meter.read().source,
        settings=trainer.settings,
    )
    return _Trained(trainer.supernet.cpu().eval(), written, expected)


def _say_cost(
    recipe: Recipe, start: Start, train_images: int, setting: Setting, group: Processes
) -> Estimate:
    """What is to come, before it begins."""
    space = start.supernet.space
    rate = training_rate(space, num_threads=setting.num_threads, device=setting.device)
    return print_estimate(
        recipe,
        train_images,
        Console(stderr=True),
        space=space,
        teacher_space=start.teacher.space if start.teacher else None,
        folded=start.supernet.is_folded,
        macs_per_second=rate * group.count,
        processes=group.count,
    )


def _preprocessing(recipe: Recipe, beginning: Artifact | None) -> AnyPreprocessing:
    """The recipe's own, or else that of the artifact it begins with."""
    if beginning is None and recipe.dataset == "words":
        return words.PREPROCESSING
    if beginning is None or recipe.mean:
        return Preprocessing(mean=recipe.mean, std=recipe.std, centre_crop=recipe.centre_crop)
    kept = beginning.manifest.preprocessing
    if recipe.centre_crop is None:
        return kept
    if not isinstance(kept, Preprocessing):
        raise ValueError("centre_crop: expected a net of images to begin with")
    return kept.model_copy(update={"centre_crop": recipe.centre_crop})


def _dataset(
    recipe: Recipe, setting: Setting, preprocessing: AnyPreprocessing, beginning: Artifact | None
) -> Dataset:
    if recipe.dataset == "image-folder" and setting.data is None:
        raise ValueError(f"recipe {recipe.name}: give --data with a folder of images")
    other = setting.data is not None and not holds_fashion_mnist(setting.data)
    if recipe.dataset == "fashion-mnist" and other:
        raise ValueError(f"data set {setting.data}: expected Fashion-MNIST's four .gz files")
    loading = FileLoading(
        preprocessing,
        recipe.augmentation,
        unreadable=recipe.unreadable_images,
        num_workers=setting.num_workers,
    )
    known = None if beginning is None or recipe.new_classifier else beginning.manifest.labels
    return open_data_folder(
        setting.data,
        loading,
        validation_images=recipe.validation_images,
        train_images=recipe.train_images,
        labels=known,
    )


def _start(recipe: Recipe, subnet: str | None, beginning: Artifact | None, classes: int) -> Start:
    if beginning is not None:
        return from_artifact(beginning, recipe, subnet, classes)
    return untrained(recipe, classes, subnet)


def _catalog(supernet: Supernet, dataset: Dataset, trained: Ledger) -> Catalog:
    """Accuracies of all that a catalog lists, measured as the ledger says, after the statistics
    where it takes them."""
    resolutions = len(supernet.space.resolutions)
    if not supernet.has_batch_norm:
        supernet.normalization = PieceAffine()  # with nothing in it: pieces are exact as they are
    elif isinstance(supernet.normalization, BatchNormalization):
        images = min(CALIBRATION_IMAGES, len(dataset.train))
        with track("calibrate", images * resolutions) as advance:
            calibrate_from(supernet, dataset.train, trained.seed, images=images, advance=advance)
    splits = [split for split in (dataset.validation, dataset.test) if split is not None]
    limit = trained.evaluation_images
    images = sum(min(len(split), limit or len(split)) for split in splits)
    with track("evaluate", images * resolutions) as advance:
        return build_catalog(
            supernet,
            dataset,
            images=limit,
            num_threads=trained.threads,
            advance=advance,
        )


def _finished(folder: Path, trained: Ledger, *, profiled: bool) -> Manifest | None:
    """The artifact of this very training, where an earlier call has evaluated and written it; one
    that is damaged, was evaluated on other images, or lacks its latency tables, is written
    again."""
    try:
        manifest = artifact.load(folder).manifest
    except ArtifactError:
        return None
    if profiled and not (folder / TABLES_FOLDER).is_dir():
        return None
    kept = manifest.ledger
    return manifest if kept is not None and _identity(kept) == _identity(trained) else None


def _identity(of: Ledger) -> tuple[object, ...]:
    """What tells a training, and how it was evaluated, from others."""
    return of.recipe_sha256, of.seed, of.phases, of.evaluation_images


def _written(
    folder: Path, supernet: Supernet, description: Description, *, profiled: bool
) -> Manifest:
    """The artifact, with the latency tables of this machine where they are asked for."""
    manifest = artifact.save(folder, supernet, description)
    if not profiled:
        return manifest
    with track("profile", len(description.catalog)) as advance:
        table, _ = profile(artifact.load(folder), REFERENCE_CLASS, advance=advance)
    tables = reference_tables(table, description.catalog)
    return artifact.save(folder, supernet, description, tables)
