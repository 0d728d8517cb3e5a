"""Five architectures along the frontier: cut from a supernet, and trained alone as long.

    python benchmarks/studies/family.py runs/compofa/artifact

Trains the recipe `alone` for each of the five (kept under `runs/family`, not trained again). The
one trained alone sees only its own resolution, the supernet sees all of its own.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from rich.console import Console
from rich.table import Table

from supernet.catalog import Catalog, CatalogEntry, pareto_frontier
from supernet.manifest import read_manifest
from training.costs.comparison import at_full_resolution
from training.recipe import read_recipe
from training.run import Setting, run
from training.run_folder import RunFolder

RESULT = Path("benchmarks/results/family.json")
RUNS = Path("runs/family")
COUNT = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("artifact", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rows = []
    for cut in along_the_frontier(read_manifest(arguments.artifact).catalog, COUNT):
        alone = _alone(cut.subnet, arguments.seed, arguments.threads)
        rows.append({"cut": cut.model_dump(), "alone": alone.model_dump()})
        _print(rows)
    RESULT.write_text(json.dumps(rows, indent=1) + "\n", "utf-8")


def along_the_frontier(catalog: Catalog, count: int) -> list[CatalogEntry]:
    """`count` entries of full resolution on its Pareto frontier, both ends among them."""
    frontier = pareto_frontier(at_full_resolution(catalog), lambda entry: entry.macs)
    places = [round(i * (len(frontier) - 1) / (count - 1)) for i in range(count)]
    return [frontier[place] for place in dict.fromkeys(places)]


def _alone(subnet: str, seed: int, threads: int) -> CatalogEntry:
    recipe = read_recipe("alone").model_copy(update={"seed": seed})
    out = RUNS / f"{subnet.replace('@', '-')}-{seed}"
    if not RunFolder(out).artifact.exists():
        run(recipe, out, Setting(subnet=subnet, num_threads=threads))
    (entry,) = read_manifest(RunFolder(out).artifact).catalog.entries
    return entry


def _print(rows: list[dict[str, dict[str, object]]]) -> None:
    table = Table("subnet", "MMACs", title="Test (validation) accuracy")
    table.add_column("cut from the supernet")
    table.add_column("trained alone")
    for row in rows:
        cut = CatalogEntry.model_validate(row["cut"])
        cells = [_accuracies(CatalogEntry.model_validate(row[way])) for way in ("cut", "alone")]
        table.add_row(cut.subnet, f"{cut.macs / 1e6:.2f}", *cells)
    Console().print(table)


def _accuracies(entry: CatalogEntry) -> str:
    return f"{entry.test_accuracy or 0:.2%} ({entry.accuracy:.2%})"


if __name__ == "__main__":
    main()
