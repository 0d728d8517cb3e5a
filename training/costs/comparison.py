"""Finished runs side by side: what their subnets reach, and what training them cost.

A run is kept as a small folder: `ledger.json`, `catalog.csv`, `log.jsonl` and `command.txt`.
Knows nothing of training and needs no torch.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from supernet.architecture import Architecture
from supernet.catalog import Catalog, CatalogEntry
from supernet.durable import write_file
from supernet.manifest import Ledger, Manifest, read_manifest
from training.recipe import read_recipe, shipped_recipes

REFERENCE_ACCURACY = 0.8
"""The accuracy from which hypervolume is counted."""
_COLUMNS = ("subnet", "accuracy", "test_accuracy", "macs", "parameters")


@dataclass(frozen=True, slots=True)
class Run:
    """A finished run and the command that makes it again."""

    name: str
    command: str
    ledger: Ledger
    catalog: Catalog


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one run, or the means over runs of one recipe. Accuracies in [0, 1] on the test split,
    where there is one: `mean`, `worst` and `best` over the subnets at full resolution,
    `mean_of_all` over those at every resolution. `hypervolume` as the function of that name."""

    mean: float
    worst: float
    best: float
    mean_of_all: float
    hypervolume: float
    macs: float
    hours: float
    energy_kwh: float | None


def told(entry: CatalogEntry) -> float:
    """The accuracy to report: the one that nothing was chosen by, where there is one."""
    return entry.accuracy if entry.test_accuracy is None else entry.test_accuracy


def hypervolume(catalog: Catalog, reference_macs: float) -> float:
    """Area under the frontier, in points of accuracy times decades of MACs.

    The frontier is chosen by validation accuracy, as subnets are when they are served, and its
    test accuracy is counted, as far as it is above `REFERENCE_ACCURACY`, from each subnet's MACs
    to the next one's, and to `reference_macs` from the last's.
    """
    frontier = [entry for entry in catalog.frontier() if entry.macs < reference_macs]
    ends = [*(entry.macs for entry in frontier[1:]), reference_macs]
    return sum(
        100 * max(0.0, told(entry) - REFERENCE_ACCURACY) * math.log10(end / entry.macs)
        for entry, end in zip(frontier, ends, strict=False)
    )


def at_full_resolution(catalog: Catalog) -> list[CatalogEntry]:
    """The entries at the largest resolution there is."""
    resolutions = [Architecture.parse(entry.subnet).resolution for entry in catalog.entries]
    full = max(resolutions, default=0)
    pairs = zip(catalog.entries, resolutions, strict=True)
    return [entry for entry, resolution in pairs if resolution == full]


def figures(run: Run, reference_macs: float) -> Figures:
    entries = run.catalog.entries
    full = [told(entry) for entry in at_full_resolution(run.catalog)]
    return Figures(
        mean=fmean(full),
        worst=min(full),
        best=max(full),
        mean_of_all=fmean(map(told, entries)),
        hypervolume=hypervolume(run.catalog, reference_macs),
        macs=run.ledger.macs,
        hours=run.ledger.hours,
        energy_kwh=run.ledger.energy_kwh,
    )


def mean_figures(parts: Sequence[Figures]) -> Figures:
    """The mean of each figure; no energy where one of them was not measured."""
    kwh = [part.energy_kwh for part in parts if part.energy_kwh is not None]
    means = {
        name: fmean(getattr(part, name) for part in parts)
        for name in Figures.__slots__
        if name != "energy_kwh"
    }
    return Figures(**means, energy_kwh=fmean(kwh) if len(kwh) == len(parts) else None)


def mean_catalog(runs: Sequence[Run]) -> Catalog:
    """The catalog of runs that list the same subnets, each subnet's accuracies averaged over them.
    One run's differ from the next one's by as much as neighbours on a frontier do."""
    entries = []
    for same in zip(*(run.catalog.entries for run in runs), strict=True):
        tests = [entry.test_accuracy for entry in same if entry.test_accuracy is not None]
        means = {
            "accuracy": fmean(entry.accuracy for entry in same),
            "test_accuracy": fmean(tests) if len(tests) == len(same) else None,
        }
        entries.append(same[0].model_copy(update=means))
    return Catalog(entries=tuple(entries))


def largest_macs(runs: Sequence[Run]) -> int:
    """MACs of the largest subnet in any catalog: where hypervolume ends."""
    return max(entry.macs for run in runs for entry in run.catalog.entries)


def collect(run_folder: Path, kept: Path, command: str | None = None) -> None:
    """Keep the small parts of a finished run's folder in the folder `kept`.

    `command` is what made it, where that was not a shipped recipe by its name. Raises `ValueError`
    where it was not and none is given, where the run is not finished or its artifact has no
    catalog or ledger.
    """
    manifest = read_manifest(run_folder / "artifact")
    if manifest.ledger is None or not manifest.catalog.entries:
        raise ValueError(f"run {run_folder}: its artifact has no ledger or no catalog")
    log = run_folder / "log.jsonl"
    if not log.exists() or not _is_finished(log.read_text("utf-8"), manifest.ledger):
        raise ValueError(f"run {run_folder}: log.jsonl does not end where the ledger does")
    command = command or _command(manifest)
    kept.mkdir(parents=True, exist_ok=True)
    rows = io.StringIO()
    table = csv.DictWriter(rows, _COLUMNS, lineterminator="\n")
    table.writeheader()
    table.writerows(entry.model_dump(include=set(_COLUMNS)) for entry in manifest.catalog.entries)
    write_file(kept / "catalog.csv", rows.getvalue().encode())
    write_file(kept / "ledger.json", manifest.ledger.model_dump_json(indent=1).encode() + b"\n")
    write_file(kept / "log.jsonl", log.read_bytes())
    write_file(kept / "command.txt", f"{command}\n".encode())


def _command(manifest: Manifest) -> str:
    """What makes a run of a shipped recipe again."""
    ledger = manifest.ledger
    assert ledger is not None
    shipped = ledger.recipe in shipped_recipes()
    if ledger.start or not shipped or read_recipe(ledger.recipe).sha256 != ledger.recipe_sha256:
        raise ValueError(
            f"recipe {ledger.recipe!r}: the run is not of a shipped recipe as it is now: say with "
            "--command what made it"
        )
    subnet = f" --subnet {only.id}" if (only := manifest.design_space.only) else ""
    seed = f" --seed {ledger.seed}" if ledger.seed else ""
    return f"compofa train {ledger.recipe}{subnet}{seed}"


def _is_finished(log: str, ledger: Ledger) -> bool:
    last = json.loads(log.splitlines()[-1]) if log.strip() else {}
    return last.get("phase") == ledger.phases[-1].name and last["step"] == last["steps"]


def read_run(kept: Path) -> Run:
    """What `collect` left in the folder `kept`."""
    with (kept / "catalog.csv").open(encoding="utf-8", newline="") as file:
        rows = [{k: v for k, v in row.items() if v} for row in csv.DictReader(file)]
    return Run(
        name=kept.name,
        command=(kept / "command.txt").read_text("utf-8").strip(),
        ledger=Ledger.model_validate_json((kept / "ledger.json").read_bytes()),
        catalog=Catalog.model_validate({"entries": rows}),
    )


def read_comparisons(folder: Path) -> dict[str, list[Run]]:
    """The runs kept in each of the folders in `folder`, all in the order of their names."""
    found: dict[str, list[Run]] = {}
    for path in sorted(folder.glob("*/*/ledger.json")):
        found.setdefault(path.parents[1].name, []).append(read_run(path.parent))
    return found


def by_recipe(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Runs that differ only in their seeds, by the name of their recipe, and by its hash as well
    where recipes of one name differ in more."""
    hashes: dict[str, set[str]] = {}
    for run in runs:
        hashes.setdefault(run.ledger.recipe, set()).add(run.ledger.recipe_sha256)
    groups: dict[str, list[Run]] = {}
    for run in runs:
        name, sha256 = run.ledger.recipe, run.ledger.recipe_sha256
        key = name if len(hashes[name]) == 1 else f"{name} {sha256[:8]}"
        groups.setdefault(key, []).append(run)
    return groups
