"""The recipes compared: what their subnets reach, and what training them cost.

    python benchmarks/recipes.py
    python benchmarks/recipes.py --collect runs/fast fast-seed0

Without arguments it prints tables of the runs kept in docs/training/runs, writes one JSON and
draws a picture for each comparison, a folder there. `--collect` keeps a finished run.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from training.costs.comparison import (
    REFERENCE_ACCURACY,
    Figures,
    Run,
    by_recipe,
    collect,
    figures,
    largest_macs,
    mean_catalog,
    mean_figures,
    read_comparisons,
    told,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

KEPT = Path("docs/training/runs")
RESULT = Path("benchmarks/results/recipes.json")
PICTURES = Path("docs/images")
BASELINES = ("ofa", "compofa")


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--collect", nargs=2, metavar=("RUN_FOLDER", "NAME"), help="keep this run")
    parser.add_argument("--comparison", default="fashion-mnist", help="the folder to keep it in")
    parser.add_argument("--command", help="what made it; the recipe by its name by default")
    parser.add_argument("--kept", type=Path, default=KEPT, help=f"{KEPT} by default")
    parser.add_argument("--result", type=Path, default=RESULT, help=f"{RESULT} by default")
    parser.add_argument("--pictures", type=Path, default=PICTURES, help=f"{PICTURES} by default")
    given = parser.parse_args(arguments)
    if given.collect:
        folder, name = given.collect
        try:
            collect(Path(folder), given.kept / given.comparison / name, given.command)
        except (OSError, ValueError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        return 0
    comparisons = read_comparisons(given.kept)
    if not comparisons:
        print(_how_to_begin(given.kept))
        return 0
    console = Console(width=None if sys.stdout.isatty() else 120)
    results = {name: _compare(name, runs, console) for name, runs in comparisons.items()}
    given.result.parent.mkdir(parents=True, exist_ok=True)
    given.result.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    given.pictures.mkdir(parents=True, exist_ok=True)
    for name, runs in comparisons.items():
        _draw(name, runs, given.pictures / f"recipes-{name}.png")
    return 0


def _how_to_begin(kept: Path) -> str:
    lines = [f"No finished run is kept in {kept}. To compare the recipes, for instance:"]
    for recipe in (*BASELINES, "fast"):
        lines.append(f"  compofa train {recipe} --out runs/{recipe}")
        lines.append(f"  python benchmarks/recipes.py --collect runs/{recipe} {recipe}-seed0")
    return "\n".join([*lines, "  make bench-train"])


def _compare(name: str, runs: list[Run], console: Console) -> dict[str, object]:
    end = largest_macs(runs)
    of_run = {run.name: figures(run, end) for run in runs}
    of_recipe = {
        recipe: mean_figures([of_run[run.name] for run in group])
        for recipe, group in by_recipe(runs).items()
    }
    baselines = {b: of_recipe[b] for b in BASELINES if b in of_recipe}
    counts = {recipe: len(group) for recipe, group in by_recipe(runs).items()}
    console.print(_accuracies(f"{name}: accuracy", of_recipe, counts, end))
    console.print(_costs(f"{name}: cost of training", of_recipe, baselines))
    if len(of_recipe) < len(of_run):
        console.print(_accuracies(f"{name}: each run", of_run, {}, end))
    hardware = sorted({run.ledger.hardware for run in runs})
    if len(hardware) > 1:
        console.print(f"Hours and kWh do not compare: {', '.join(hardware)}")
    console.print("Made by:")
    for run in runs:
        console.print(f"  {run.name}: {run.command}", highlight=False, soft_wrap=True)
    return {
        "hardware": hardware,
        "reference": {"macs": end, "accuracy": REFERENCE_ACCURACY},
        "recipes": {k: {"runs": counts[k]} | _row(f, baselines) for k, f in of_recipe.items()},
        "runs": {
            run.name: {"recipe": run.ledger.recipe, "seed": run.ledger.seed, "command": run.command}
            | _row(of_run[run.name], baselines)
            for run in runs
        },
    }


def _row(found: Figures, baselines: dict[str, Figures]) -> dict[str, object]:
    ratios = {
        f"{figure}_over_{name}": getattr(found, figure) / getattr(base, figure)
        for name, base in baselines.items()
        for figure in ("macs", "hours")
    }
    return asdict(found) | ratios


def _accuracies(title: str, rows: dict[str, Figures], counts: dict[str, int], end: int) -> Table:
    caption = (
        "test accuracy, %; mean, worst and best at full resolution; hypervolume from "
        f"{REFERENCE_ACCURACY:.0%} and up to {end / 1e6:.3g} MMACs, points x decades"
    )
    headings = ("", "runs", "mean", "worst", "best", "mean of all", "hypervolume")
    table = _table(title, headings, caption)
    for name, f in rows.items():
        accuracies = (f"{100 * a:.2f}" for a in (f.mean, f.worst, f.best, f.mean_of_all))
        table.add_row(name, str(counts.get(name, 1)), *accuracies, f"{f.hypervolume:.3f}")
    return table


def _costs(title: str, rows: dict[str, Figures], baselines: dict[str, Figures]) -> Table:
    over = [f"of {name}'s" for name in baselines]
    headings = ("", "TMACs", *over, "hours", *over, "kWh")
    table = _table(title, headings, "forward 1, backward 2, teachers included; wall time")
    for name, f in rows.items():
        macs = (f"{f.macs / base.macs:.2f}" for base in baselines.values())
        hours = (f"{f.hours / base.hours:.2f}" for base in baselines.values())
        kwh = "-" if f.energy_kwh is None else f"{f.energy_kwh:.3g}"
        table.add_row(name, f"{f.macs / 1e12:.1f}", *macs, f"{f.hours:.2f}", *hours, kwh)
    return table


def _table(title: str, headings: Sequence[str], caption: str) -> Table:
    table = Table(title=title, caption=caption)
    for heading in headings:
        table.add_column(heading, justify="right" if heading else "left")
    return table


def _draw(name: str, runs: list[Run], picture: Path) -> None:
    import matplotlib as mpl  # the extra `plot`, and slow
    from matplotlib import pyplot as plt

    mpl.use("Agg")
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.5), dpi=120)
    groups = by_recipe(runs)
    colors = {family: f"C{i}" for i, family in enumerate(dict.fromkeys(map(_family, groups)))}
    for recipe, group in groups.items():
        _draw_recipe(left, right, recipe, group, colors[_family(recipe)])
    for family, color in colors.items():
        lengths = [_point(group) for recipe, group in groups.items() if _family(recipe) == family]
        right.plot(*zip(*sorted(lengths), strict=True), "-", color=color, linewidth=1, alpha=0.6)
    left.set_xlabel("MMACs an image")
    left.set_ylabel("test accuracy, %")
    left.set_title("Frontiers of the runs' mean, chosen on validation")
    right.set_xlabel("training cost, TMACs")
    right.set_ylabel("mean test accuracy at full resolution, %")
    right.set_title("Accuracy over cost, a point a run, lines through means")
    right.set_xlim(0, 1.25 * max(run.ledger.macs for run in runs) / 1e12)  # room for names
    for axes in (left, right):
        axes.grid(alpha=0.3)
    left.legend(loc="lower right", fontsize="small")
    figure.suptitle(name)
    figure.tight_layout()
    figure.savefig(picture)
    plt.close(figure)


def _family(recipe: str) -> str:
    """The recipe that one of another length is made of."""
    return recipe.partition("-x")[0]


def _point(group: list[Run]) -> tuple[float, float]:
    """Cost in TMACs and mean accuracy in percent, means over the runs of a recipe."""
    mean = mean_figures([figures(run, largest_macs(group)) for run in group])
    return mean.macs / 1e12, 100 * mean.mean


def _draw_recipe(left: Axes, right: Axes, recipe: str, group: list[Run], color: str) -> None:
    if recipe == _family(recipe):  # more curves could not be told apart
        frontier = mean_catalog(group).frontier()
        left.plot(
            [entry.macs / 1e6 for entry in frontier],
            [100 * told(entry) for entry in frontier],
            ".-", color=color, linewidth=1, label=f"{recipe}, runs: {len(group)}",
        )  # fmt: skip
    for run in group:
        right.plot(*_point([run]), "o", color=color)
    right.annotate(
        recipe, _point(group), textcoords="offset points", xytext=(6, 4), fontsize=8
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
