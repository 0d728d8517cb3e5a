"""How short the fold phase can be: over all 243 subnets at full resolution, on validation images.

    compofa train compofa --until compound-2 --out runs/compofa-unfolded
    python benchmarks/studies/fold.py runs/compofa-unfolded/artifact

Compares statistics per subnet (a), the fold phase at several lengths and rates (b), and one
averaged affine a piece without it (c). Each artifact given is a row group of its own; artifacts of
several seeds show the noise. Finished settings are kept under `runs/fold-study` and not run again.
"""

from __future__ import annotations

import argparse
import json
import statistics
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from supernet.catalog import Catalog
from supernet.manifest import read_manifest
from training.costs.comparison import at_full_resolution
from training.recipe import Recipe, read_recipe
from training.run import Setting, run
from training.run_folder import RunFolder

RESULT = Path("benchmarks/results/fold.json")
RUNS = Path("runs/fold-study")
SETTINGS = ((0.25, 0.01), (0.5, 0.01), (1.0, 0.003), (1.0, 0.01), (1.0, 0.03), (2.0, 0.01))
NOT_TRAINED = (1e-9, 1e-9)  # one step at a rate of nothing


@dataclass(frozen=True, slots=True)
class Row:
    """One way to normalise one net: accuracies over its subnets at full resolution."""

    net: str
    way: str
    mean: float
    worst: float
    macs: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("artifacts", nargs="+", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    rows = [row for path in arguments.artifacts for row in _study(path, arguments.threads)]
    RESULT.write_text(json.dumps([row.__dict__ for row in rows], indent=1) + "\n", "utf-8")
    _print(rows)


def _study(path: Path, threads: int) -> list[Row]:
    manifest = read_manifest(path)
    if manifest.normalization != "subnet-statistics":
        raise SystemExit(f"{path}: expected a net with statistics per subnet")
    net = path.parent.name
    rows = [_row(net, "(a) statistics per subnet", manifest.catalog, 0)]
    for epochs, rate in (NOT_TRAINED, *SETTINGS):
        trained = epochs > NOT_TRAINED[0]
        way = f"(b) fold {epochs:g} epochs, rate {rate:g}" if trained else "(c) averaged affines"
        out = RUNS / f"{net}-{epochs:g}-{rate:g}"
        found = read_manifest(RunFolder(out).artifact) if RunFolder(out).artifact.exists() else None
        if found is None:
            setting = Setting(start=path, num_threads=threads, device=torch.device("cpu"))
            found = run(_recipe(epochs, rate), out, setting)
        assert found is not None
        macs = found.ledger.macs if found.ledger and trained else 0
        rows.append(_row(net, way, found.catalog, macs))
    return rows


def _recipe(epochs: float, rate: float) -> Recipe:
    recipe = read_recipe("fold")
    (phase,) = recipe.phases
    phase = phase.model_copy(update={"epochs": epochs, "learning_rate": rate})
    return recipe.model_copy(update={"phases": (phase,), "profile": False})


def _row(net: str, way: str, catalog: Catalog, macs: int) -> Row:
    accuracies = [entry.accuracy for entry in at_full_resolution(catalog)]
    return Row(net, way, statistics.mean(accuracies), min(accuracies), macs)


def _print(rows: list[Row]) -> None:
    table = Table("net", "normalisation", "mean of 243", "worst", "TMACs", title="The fold phase")
    for row in rows:
        table.add_row(
            row.net, row.way, f"{row.mean:.2%}", f"{row.worst:.2%}", f"{row.macs / 1e12:.2f}"
        )
    Console().print(table)


if __name__ == "__main__":
    main()
