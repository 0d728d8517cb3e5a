"""The Pareto frontiers of the shipped catalog: one table, one JSON, one picture.

    python benchmarks/frontier.py

Selection goes by the validation split, and so does the frontier; the test accuracy beside it
was never used to choose anything.
"""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib as mpl
from matplotlib import pyplot as plt
from rich.console import Console
from rich.table import Table

from supernet import shipped
from supernet.architecture import Architecture
from supernet.catalog import CatalogEntry
from supernet.manifest import Manifest, read_manifest

PICTURE = Path("docs/images/frontier.png")
RESULT = Path("benchmarks/results/frontier.json")


def main() -> None:
    manifest = read_manifest(shipped.artifact_folder())
    frontier = manifest.catalog.frontier()
    rows = [entry.model_dump(exclude={"int8"}) for entry in frontier]
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps({"frontier": rows}, indent=1) + "\n", encoding="utf-8")
    _print(frontier)
    _draw(manifest, frontier)


def _print(frontier: tuple[CatalogEntry, ...]) -> None:
    table = Table("subnet", "validation", "test", "MMACs", title="Pareto frontier by MACs")
    for entry in frontier:
        table.add_row(
            entry.subnet,
            f"{entry.accuracy:.2%}",
            f"{entry.test_accuracy:.2%}",
            f"{entry.macs / 1e6:.2f}",
        )
    Console().print(table)


def _draw(manifest: Manifest, frontier: tuple[CatalogEntry, ...]) -> None:
    mpl.use("Agg")
    figure, axes = plt.subplots(figsize=(8, 4.5), dpi=120)
    for resolution in reversed(manifest.design_space.resolutions):
        entries = [
            e
            for e in manifest.catalog.entries
            if Architecture.parse(e.subnet).resolution == resolution
        ]
        axes.scatter(
            [e.macs / 1e6 for e in entries],
            [100 * (e.test_accuracy or 0) for e in entries],
            s=6, alpha=0.45, label=f"243 subnets at {resolution}x{resolution}",
        )  # fmt: skip
    axes.plot(
        [e.macs / 1e6 for e in frontier],
        [100 * (e.test_accuracy or 0) for e in frontier],
        "k.-", linewidth=1, label="Pareto frontier, chosen on validation",
    )  # fmt: skip
    axes.set_xlabel("MMACs an image")
    axes.set_ylabel("test accuracy, %")
    axes.set_title("One supernet, Fashion-MNIST")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    figure.tight_layout()
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(PICTURE)


if __name__ == "__main__":
    main()
