"""A picture of a search: all subnets of a device class, the frontier, and the one chosen."""

from __future__ import annotations

import io
from pathlib import Path

from matplotlib.figure import Figure

from gateway.request import Constraints, Selection
from gateway.select import Candidates, Goal
from supernet.durable import write_file


def draw(path: Path, candidates: Candidates, constraints: Constraints, chosen: Selection) -> None:
    """Write the picture as PNG or SVG, by the suffix of `path`."""
    everything = candidates.tier()
    figure = Figure(figsize=(8, 4.5), dpi=120, layout="constrained")
    axes = figure.subplots()
    for resolution in reversed(candidates.resolutions):
        own = [c for c in everything.by_preference["latency"] if c.resolution == resolution]
        axes.scatter(
            [c.latency_ms for c in own], [c.accuracy for c in own],
            s=6, alpha=0.45, label=f"{len(own)} subnets at {resolution}x{resolution}",
        )  # fmt: skip
    frontier = everything.frontier
    axes.plot(
        [c.latency_ms for c in frontier], [c.accuracy for c in frontier],
        "k.-", linewidth=1, markersize=3, drawstyle="steps-post",
        label=f"frontier of {len(frontier)} subnets",
    )  # fmt: skip
    goal = Goal.of(constraints, candidates.default_budget_ms)
    if goal.budget_ms is not None:
        axes.axvline(goal.budget_ms, color="grey", linestyle=":", label=f"{goal.budget_ms:g} ms")
    if goal.min_accuracy is not None:
        axes.axhline(
            goal.min_accuracy, color="grey", linestyle="--", label=f"{goal.min_accuracy:g}"
        )
    subnet = chosen.subnet.replace("/", "\n/")  # each part of a long id on a line of its own
    label = f"{subnet}: {chosen.accuracy:.4f}, {chosen.latency_ms:.4g} ms"
    axes.plot([chosen.latency_ms], [chosen.accuracy], "r*", markersize=13, label=label)
    axes.set(xlabel=f"ms on {constraints.device_class}", ylabel="accuracy")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", fontsize="small")
    picture = io.BytesIO()
    figure.savefig(picture, format=path.suffix.lower().removeprefix("."))
    write_file(path, picture.getvalue())
