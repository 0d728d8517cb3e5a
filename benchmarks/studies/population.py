"""CompOFA's claim about its population: coupled depth and width against random architectures.

    python benchmarks/studies/population.py runs/ofa/artifact runs/compofa/artifact

At full resolution, on the test images: of a net whose choices are all free a block, as many
architectures that couple depth and width, with fixed and with random kernels, as random ones;
beside them those of a net that was trained on nothing else, as the paper compares them. Prints
the means at equal MACs and draws one picture.
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
from supernet.manifest import read_manifest
from training.calibrate import calibrate_from
from training.costs.comparison import at_full_resolution, told
from training.evaluate import accuracies
from training.images.data_folder import open_data_folder
from training.images.file_source import FileLoading

RESULT = Path("benchmarks/results/population.json")
PICTURE = Path("docs/images/population.png")
COUNT = 243
BIN = 1_000_000  # MACs


class Row(TypedDict):
    """A point of the picture; accuracy in [0, 1]."""

    subnet: str
    macs: int
    test_accuracy: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("free", type=Path, help="artifact whose choices are free a block")
    parser.add_argument("coupled", type=Path, help="artifact of a compound space")
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    loaded = artifact.load(given.free)
    space = loaded.supernet.space
    if space.can_be_listed:
        raise SystemExit(f"{given.free}: expected a net whose choices are free a block")
    groups = _groups(space)
    found = _measured(loaded, [arch for group in groups.values() for arch in group], given.threads)
    rows = {
        name: [Row(subnet=a.id, macs=complexity(space, a).macs, test_accuracy=found[a]) for a in g]
        for name, g in groups.items()
    }
    entries = at_full_resolution(read_manifest(given.coupled).catalog)
    rows["coupled, of a net trained on these"] = [
        Row(subnet=e.subnet, macs=e.macs, test_accuracy=told(e)) for e in entries
    ]
    RESULT.write_text(json.dumps(rows, indent=1) + "\n", "utf-8")
    _print(rows)
    _draw(rows)


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
    bins = sorted({point["macs"] // BIN for points in rows.values() for point in points})
    for each in bins:
        table.add_row(f"{each}-{each + 1}", *(_mean(p, each) for p in rows.values()))
    table.add_row("all", *(_mean(points) for points in rows.values()))
    Console(width=120).print(table)


def _mean(points: list[Row], only: int | None = None) -> str:
    chosen = [p["test_accuracy"] for p in points if only is None or p["macs"] // BIN == only]
    return f"{100 * fmean(chosen):.2f} ({len(chosen)})" if chosen else "-"


def _draw(rows: dict[str, list[Row]]) -> None:
    mpl.use("Agg")
    figure, axes = plt.subplots(figsize=(8, 4.5), dpi=120)
    for name, points in rows.items():
        x = [point["macs"] / 1e6 for point in points]
        y = [100 * point["test_accuracy"] for point in points]
        axes.scatter(x, y, s=10, alpha=0.6, label=name)
    axes.set_xlabel("MMACs an image")
    axes.set_ylabel("test accuracy, %")
    axes.set_title(f"{COUNT} architectures a colour, Fashion-MNIST")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    figure.tight_layout()
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(PICTURE)


if __name__ == "__main__":
    main()
