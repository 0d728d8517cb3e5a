"""CompOFA's claim about its population: coupled depth and width against random architectures.

    python benchmarks/studies/population.py runs/ofa/artifact
    python benchmarks/studies/population.py        # prints and draws what was measured

At full resolution, on the test images: of a net whose choices are all free a block, as many
architectures that couple depth and width, with fixed and with random kernels, as random ones;
beside them those of nets that were trained on nothing else, as the paper compares them: means over
the runs of `compofa` kept in docs/training/runs. Prints the means at equal MACs and draws one
picture.
"""

from __future__ import annotations

import argparse
import json
import random
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import TypedDict

import matplotlib as mpl
import torch
from matplotlib import pyplot as plt
from rich.console import Console
from rich.table import Table

from supernet import artifact
from supernet.architecture import Architecture
from supernet.complexity import complexity
from supernet.design_space import DesignSpace
from training.calibrate import calibrate_from
from training.costs.comparison import (
    at_full_resolution,
    by_recipe,
    mean_catalog,
    read_comparisons,
    told,
)
from training.evaluate import accuracies
from training.images.data_folder import open_data_folder
from training.images.file_source import FileLoading

RESULT = Path("benchmarks/results/population.json")
KEPT = Path("docs/training/runs")
PICTURE = Path("docs/images/population.png")
COUNT = 243
BIN = 1_000_000  # MACs
FEWEST = 4  # points for a mean that is drawn


class Row(TypedDict):
    """A point of the picture; accuracy in [0, 1]."""

    subnet: str
    macs: int
    test_accuracy: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("net", nargs="?", type=Path, help="artifact, choices free a block")
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    if given.net is not None:
        found = _groups_of(given.net, given.threads)
        RESULT.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    rows: dict[str, list[Row]] = json.loads(RESULT.read_text("utf-8"))
    rows["coupled, of nets trained on these"] = _trained_on_these()
    _print(rows)
    _draw(rows)


def _groups_of(net: Path, threads: int) -> dict[str, list[Row]]:
    loaded = artifact.load(net)
    space = loaded.supernet.space
    if space.can_be_listed:
        raise SystemExit(f"{net}: expected a net whose choices are free a block")
    groups = _groups(space)
    found = _measured(loaded, [arch for group in groups.values() for arch in group], threads)
    return {
        name: [Row(subnet=a.id, macs=complexity(space, a).macs, test_accuracy=found[a]) for a in g]
        for name, g in groups.items()
    }


def _trained_on_these() -> list[Row]:
    runs = by_recipe(read_comparisons(KEPT)["fashion-mnist"])["compofa"]
    return [
        Row(subnet=entry.subnet, macs=entry.macs, test_accuracy=told(entry))
        for entry in at_full_resolution(mean_catalog(runs))
    ]


def _groups(space: DesignSpace) -> dict[str, list[Architecture]]:
    full, rng = max(space.resolutions), random.Random(0)
    coupled = [arch for arch in space.representatives() if arch.resolution == full]
    return {
        "random": [space.sample(rng, resolution=full) for _ in range(COUNT)],
        "coupled, random kernels": [
            replace(arch, kernels=tuple(rng.choices(space.kernels[0], k=sum(arch.depths))))
            for arch in coupled
        ],
        "coupled, fixed kernels": coupled,
    }


def _measured(
    loaded: artifact.Artifact, archs: list[Architecture], threads: int
) -> dict[Architecture, float]:
    """Test accuracies, each with statistics of its own."""
    manifest = loaded.manifest
    held_out = manifest.ledger.validation_images if manifest.ledger else None
    loading = FileLoading(manifest.preprocessing)
    data = open_data_folder(None, loading, validation_images=held_out)
    assert data.test is not None
    torch.set_num_threads(threads)
    calibrate_from(loaded.supernet, data.train, archs=archs)
    return accuracies(loaded.supernet, data.test, archs, num_threads=threads)


def _print(rows: dict[str, list[Row]]) -> None:
    table = Table("MMACs", title="Mean test accuracy, % (how many)")
    for name, points in rows.items():
        table.add_column(f"{name}: mean at {fmean(p['macs'] for p in points) / 1e6:.2f} MMACs")
    bins = {name: _bins(points) for name, points in rows.items()}
    for each in sorted({each for found in bins.values() for each in found}):
        table.add_row(
            f"{each}-{each + 1}", *(_mean(found.get(each, [])) for found in bins.values())
        )
    table.add_row("all", *map(_mean, rows.values()))
    Console(width=120).print(table)


def _bins(points: list[Row]) -> dict[int, list[Row]]:
    """The points of about the same MACs, by MMACs rounded down."""
    found: dict[int, list[Row]] = {}
    for point in sorted(points, key=lambda point: point["macs"]):
        found.setdefault(point["macs"] // BIN, []).append(point)
    return found


def _mean(points: list[Row]) -> str:
    return f"{100 * _accuracy(points):.2f} ({len(points)})" if points else "-"


def _accuracy(points: list[Row]) -> float:
    return fmean(point["test_accuracy"] for point in points)


def _draw(rows: dict[str, list[Row]]) -> None:
    mpl.use("Agg")
    figure, axes = plt.subplots(figsize=(8, 4.5), dpi=120)
    for i, (name, points) in enumerate(rows.items()):
        x = [point["macs"] / 1e6 for point in points]
        y = [100 * point["test_accuracy"] for point in points]
        axes.scatter(x, y, s=8, alpha=0.35, color=f"C{i}")
        bins = {each: found for each, found in _bins(points).items() if len(found) >= FEWEST}
        means = [100 * _accuracy(found) for found in bins.values()]
        axes.plot([each + 0.5 for each in bins], means, color=f"C{i}", linewidth=2, label=name)
    axes.set_xlabel("MMACs an image")
    axes.set_ylabel("test accuracy, %")
    axes.set_title(f"{COUNT} architectures a colour, and their means; Fashion-MNIST")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    figure.tight_layout()
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(PICTURE)


if __name__ == "__main__":
    main()
