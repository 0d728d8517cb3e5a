"""A recipe from start to finish: train, make runnable, evaluate, profile, write the artifact."""

from __future__ import annotations

import importlib.metadata
import math
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import torch

from supernet import artifact
from supernet.artifact import Description
from supernet.catalog import Catalog
from supernet.latency import LatencyTable
from supernet.manifest import Ledger, Manifest, Preprocessing
from supernet.model import Supernet
from supernet.normalization import PieceAffine
from training.augment import Transform
from training.calibrate import CALIBRATION_IMAGES, calibrate
from training.data import Dataset, load_fashion_mnist
from training.evaluate import build_catalog
from training.profile import processor, profile
from training.randomness import torch_generator
from training.recipe import Recipe
from training.report import RunReport, track
from training.trainer import Trainer

REFERENCE_CLASS = "reference-cpu"


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


def run(recipe: Recipe, out: Path, data: Path | None, num_threads: int) -> Manifest:
    """Train `recipe` into `out`, going on where an interrupted run stopped.

    `data` is the data set's folder (None: look for it). Raises `ValueError` for bad input.
    """
    dataset = _dataset(recipe, data)
    folder = RunFolder(out)
    out.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(recipe, dataset.train, folder.checkpoint, num_threads)
    with RunReport(folder.log) as report:
        trainer.run(report)
    supernet = trainer.supernet.eval()
    transform = Transform(Preprocessing(mean=recipe.mean, std=recipe.std))
    if not isinstance(supernet.normalization, PieceAffine):
        calibrate_all(supernet, dataset, transform, recipe.seed)
    images = len(dataset.validation) + len(dataset.test)
    with track("evaluate", images * len(supernet.space.resolutions)) as advance:
        catalog = build_catalog(
            supernet, dataset, transform, num_threads=num_threads, advance=advance
        )
    description = Description(
        name=recipe.design_space,
        preprocessing=transform.preprocessing,
        labels=dataset.labels,
        catalog=catalog,
        ledger=_ledger(recipe, trainer, dataset, num_threads),
    )
    manifest = artifact.save(folder.artifact, supernet, description)
    return _add_tables(folder.artifact, description) if recipe.profile else manifest


def _dataset(recipe: Recipe, folder: Path | None) -> Dataset:
    whole = load_fashion_mnist(folder, recipe.validation_images, recipe.train_images)
    return replace(
        whole,
        validation=whole.validation.first(recipe.evaluation_images),
        test=whole.test.first(recipe.evaluation_images),
    )


def calibrate_all(
    supernet: Supernet,
    dataset: Dataset,
    transform: Transform,
    seed: int,
    images: int = CALIBRATION_IMAGES,
) -> None:
    """Statistics for every subnet at every resolution, from `images` training images."""
    generator = torch_generator(seed, "calibrate")
    count = min(images, len(dataset.train))
    pixels = dataset.train.pixels[torch.randperm(len(dataset.train), generator=generator)[:count]]
    archs = list(supernet.space.enumerate())
    with track("calibrate", len(supernet.space.resolutions)) as advance:
        for resolution in supernet.space.resolutions:
            batches = [transform(part, resolution) for part in torch.split(pixels, 500)]
            calibrate(supernet, batches, [a for a in archs if a.resolution == resolution])
            advance(1)


def reference_tables(measured: LatencyTable, catalog: Catalog) -> list[LatencyTable]:
    """The measured table and two imagined slower classes, each with a default budget.

    The budgets admit the last, the middle and an early subnet of the Pareto frontier, so that
    the three classes are served by different subnets.
    """
    frontier = catalog.frontier(lambda entry: measured.latency_ms[entry.subnet])
    times = [measured.latency_ms[entry.subnet] for entry in frontier]
    early, middle, last = times[len(times) // 8], times[len(times) // 2], times[-1]
    return [
        measured.model_copy(update={"default_budget_ms": _rounded_up(last * 1.05)}),
        measured.scaled(4, "simulated-4x-slower", _rounded_up(4 * middle)),
        measured.scaled(16, "simulated-16x-slower", _rounded_up(16 * early)),
    ]


def _rounded_up(milliseconds: float) -> float:
    return math.ceil(milliseconds * 100) / 100


def _add_tables(folder: Path, description: Description) -> Manifest:
    """Profile what was just written, then write it again with its tables."""
    written = artifact.load(folder)
    with track("profile", len(description.catalog)) as advance:
        table = profile(written, REFERENCE_CLASS, num_threads=1, advance=advance)
    tables = reference_tables(table, description.catalog)
    return artifact.save(folder, written.supernet, description, tables)


def _ledger(recipe: Recipe, trainer: Trainer, dataset: Dataset, num_threads: int) -> Ledger:
    return Ledger(
        recipe=recipe.name,
        recipe_sha256=recipe.sha256,
        code_version=_code_version(),
        seed=recipe.seed,
        hardware=processor(),
        threads=num_threads,
        torch_version=torch.__version__,
        train_images=len(dataset.train),
        validation_images=recipe.validation_images,
        phases=trainer.phases,
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _code_version() -> str:
    try:
        return importlib.metadata.version("compofa")
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
