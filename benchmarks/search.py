"""Searching a latency table: exactly, and by evolution.

    python benchmarks/search.py [--tables DIR --predictor FILE]

Prints one table and writes one JSON file. With Once-for-All's block latencies of a device of width
1.2 and the published accuracy predictor, three searches answer the same budgets by the same
figures: CompOFA's 243 subnets a resolution exactly, the same by evolution, and Once-for-All's
whole space by evolution, the gateway's and one that goes architecture by architecture as the
published code does. Without them only the shipped net is asked.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import torch
from rich.console import Console
from rich.table import Table
from rivals.evolution import OneAtATime

from gateway.request import Constraints
from gateway.search.evolution import Evolution, evolve
from gateway.search.genome import Genome
from gateway.select import Candidates, Goal, select
from supernet import shipped
from supernet.accuracy_predictor import TRAINED_RESOLUTIONS, AccuracyPredictor, Float32
from supernet.block_latency import BlockLatency
from supernet.catalog import Catalog, CatalogEntry
from supernet.design_space import DesignSpace
from supernet.latency import Blocks, LatencyTable, read_bundled_tables
from supernet.lookup_table import LookupTable
from supernet.lookup_table_files import find_lookup_tables, read_lookup_table
from supernet.manifest import read_manifest
from supernet.presets import Freedom, imagenet_mbv3
from training.costs.ledger import processor

DATA = Path(__file__).parents[2] / "shared/data"
RESULT = Path("benchmarks/results/search.json")
QUERIES, STARTS = 20_000, 10
FREEDOMS: tuple[Freedom, ...] = ("compound", "elastic")
T = TypeVar("T")
Row = dict[str, Any]


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tables", type=Path, default=DATA / "note10", help="block latencies")
    parser.add_argument("--predictor", type=Path, default=DATA / "ofa_accuracy_predictor.pth")
    parser.add_argument("--width", type=float, default=1.2, help="that the tables were made for")
    parser.add_argument("--budgets", type=float, nargs="+", default=[15, 20, 25, 30, 40])
    parser.add_argument("--generations", type=int, default=500)
    parser.add_argument("--population", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=3, help="searches by evolution a budget")
    parser.add_argument("--result", type=Path, default=RESULT, help=f"{RESULT} by default")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)  # all sides alike
    document: Row = {"hardware": processor(), "answers": answers(given)}
    if is_there(given):
        document |= compared(given)
    else:
        print(
            f"skipped: no evolution without {given.tables} and {given.predictor}", file=sys.stderr
        )
    report(document)
    given.result.parent.mkdir(parents=True, exist_ok=True)
    given.result.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 0


def answers(given: argparse.Namespace) -> Row:
    """How soon the shipped net's first answer is there, and queries on the largest table."""
    artifact = shipped.artifact_folder()
    with TemporaryDirectory() as state:
        command = [
            sys.executable, "-m", "gateway", "search", str(artifact), "--json",
            "--device-class", "reference-cpu", "--store", f"sqlite://{state}/tables",
        ]  # fmt: skip
        ask = partial(subprocess.run, command, check=True, capture_output=True)
        starts = [timed(ask)[1] for _ in range(STARTS)]
    if is_there(given):
        predictor = AccuracyPredictor.read(given.predictor)
        catalog, table = listed(given, predictor, TRAINED_RESOLUTIONS)
    else:
        catalog, table = read_manifest(artifact).catalog, read_bundled_tables(artifact)[0]
    build = partial(Candidates, catalog, table)
    candidates, builds = build(), [timed(build)[1] for _ in range(50)]
    return {
        "first_answer_ms": percentiles(starts, 1e3),
        "entries": len(catalog),
        "frontier": len(candidates.tier().frontier),
        "frontier_ms": percentiles(builds, 1e3),
        "query_us": percentiles(queries(candidates), 1e6),
    }


def queries(candidates: Candidates) -> list[float]:
    """What each of many different queries takes, by budget, by accuracy and by both, in s."""
    rng, frontier = random.Random(0), candidates.tier().frontier
    first, last = frontier[0], frontier[-1]
    times = []
    for i in range(QUERIES):
        budget = rng.uniform(first.latency_ms, last.latency_ms)
        accuracy = rng.uniform(0, last.accuracy)
        asked = [(budget, None), (None, accuracy), (budget, first.accuracy)][i % 3]
        times.append(timed(partial(select, candidates, Constraints("device", *asked)))[1])
    return times


def compared(given: argparse.Namespace) -> Row:
    """The searches side by side, a row a budget."""
    predictor = AccuracyPredictor.read(given.predictor)
    catalog, table = listed(given, predictor, imagenet_mbv3().resolutions)
    candidates = Candidates(catalog, table)
    compound, ofa = (
        Whole(imagenet_mbv3(freedom, given.width), table.blocks, predictor, given)
        for freedom in FREEDOMS
    )
    one = OneAtATime(
        ofa.space, table.blocks, torch_net(predictor), sorted(table.blocks),
        given.population, given.generations,
    )  # fmt: skip
    rows = []
    for budget in given.budgets:
        ask = partial(select, candidates, Constraints("device", budget))
        exact, took = ask(), statistics.median(timed(ask)[1] for _ in range(100))
        (accuracy, _), slow = timed(partial(one.search, budget, 0))
        rows.append({
            "budget_ms": budget,
            "exact": {"subnet": exact.subnet, "accuracy": exact.accuracy, "seconds": took},
            "evolution": compound.best(budget),
            "ofa_evolution": ofa.best(budget),
            "ofa_one_at_a_time": {"accuracy": accuracy, "seconds": slow},
        })  # fmt: skip
        print(f"{budget:g} ms: done", file=sys.stderr)
    settings = {name: getattr(given, name) for name in ("generations", "population", "seeds")}
    settings |= {"width": given.width, "resolutions": sorted(table.blocks)}
    return {"settings": settings, "listed": len(catalog), "budgets": rows}


class Whole:
    """A whole space, searched by evolution once a seed."""

    def __init__(
        self,
        space: DesignSpace,
        blocks: Blocks,
        predictor: AccuracyPredictor,
        given: argparse.Namespace,
    ) -> None:
        latency = BlockLatency(LookupTable(space, blocks, {}))
        self.space, self._given = space, given
        self._evolve = partial(
            evolve,
            Genome(space, latency.resolutions),
            predictor,
            latency,
            start=[latency.fastest(latency.resolutions)],
        )

    def best(self, budget_ms: float) -> Row:
        """What each seed finds, and the mean time of a search."""
        given, goal = self._given, Goal(budget_ms, None, "accuracy")
        found, seconds = [], []
        for seed in range(given.seeds):
            evolution = Evolution(given.population, given.generations, seed)
            candidate, took = timed(partial(self._evolve, goal=goal, evolution=evolution))
            if candidate is None:
                raise SystemExit(f"error: no subnet takes at most {budget_ms:g} ms")
            found.append(candidate)
            seconds.append(took)
        best = max(found, key=lambda candidate: candidate.accuracy)
        return {
            "subnet": best.subnet,
            "accuracies": [candidate.accuracy for candidate in found],
            "seconds": statistics.mean(seconds),
        }


def listed(
    given: argparse.Namespace, predictor: AccuracyPredictor, resolutions: Sequence[int]
) -> tuple[Catalog, LatencyTable]:
    """The compound space of the tables' net at `resolutions` that have a table."""
    files = find_lookup_tables(given.tables)
    blocks = {r: read_lookup_table(files[r]) for r in resolutions if r in files}
    preset = imagenet_mbv3(width=given.width).model_dump()
    space = DesignSpace.model_validate(preset | {"resolutions": sorted(blocks)})
    archs = list(space.enumerate())
    lookup = LookupTable(space, blocks, {r: str(files[r]) for r in blocks})
    table = LatencyTable(
        device_class="device", artifact_hash="", source=str(given.tables), measured=False,
        latency_ms={arch.id: lookup.latency_ms(arch) for arch in archs}, blocks=blocks,
    )  # fmt: skip
    entries = tuple(
        CatalogEntry(subnet=arch.id, accuracy=accuracy, macs=0, parameters=0)
        for arch, accuracy in zip(archs, predictor.predict(space, archs), strict=True)
    )
    return Catalog(entries=entries, predicted_by=given.predictor.name), table


def torch_net(predictor: AccuracyPredictor) -> Callable[[Float32], Float32]:
    """The predictor as those who published it run it."""
    state = {name: torch.from_numpy(values) for name, values in predictor.tensors.items()}
    layers = [torch.nn.Linear(*state[f"{i}.weight"].shape[::-1]) for i in range(0, 8, 2)]
    parts = [part for layer in layers for part in (layer, torch.nn.ReLU())]
    net = torch.nn.Sequential(*parts[:-1]).requires_grad_(False)
    net.load_state_dict(state)
    return lambda codes: net(torch.from_numpy(codes)).flatten().numpy()


def is_there(given: argparse.Namespace) -> bool:
    return bool(given.tables.is_dir() and given.predictor.is_file())


def timed(run: Callable[[], T]) -> tuple[T, float]:
    """What a call returns, and the seconds it took."""
    began = time.perf_counter()
    found = run()
    return found, time.perf_counter() - began


def percentiles(seconds: Sequence[float], factor: float) -> Row:
    """In units of 1 / `factor` s."""
    in_order = sorted(s * factor for s in seconds)
    return {
        f"p{p}": in_order[min(len(in_order) - 1, len(in_order) * p // 100)] for p in (50, 95, 99)
    }


def report(document: Row) -> None:
    """One table; what does not depend on a budget stands below it."""
    answer = document["answers"]
    caption = (
        f"{document['hardware']}; first answer of the command line: "
        f"{answer['first_answer_ms']['p50']:.0f} ms; {answer['entries']} subnets, "
        f"{answer['frontier']} of them on the frontier, built in "
        f"{answer['frontier_ms']['p50']:.1f} ms; a query takes {answer['query_us']['p50']:.1f} us "
        f"(95%: {answer['query_us']['p95']:.1f}, 99%: {answer['query_us']['p99']:.1f})"
    )
    table = Table(title="Top-1 within a latency budget, and the time to find it", caption=caption)
    for heading in ("ms", "compound, exact", "by evolution", "OFA, by evolution", "one at a time"):
        table.add_column(heading, justify="right")
    for row in document.get("budgets", ()):
        exact, one = row["exact"], row["ofa_one_at_a_time"]
        table.add_row(
            f"{row['budget_ms']:g}",
            f"{exact['accuracy']:.4f} {1e6 * exact['seconds']:5.1f} us",
            *(
                f"{min(found['accuracies']):.4f}-{max(found['accuracies']):.4f} "
                f"{found['seconds']:5.2f} s"
                for found in (row["evolution"], row["ofa_evolution"])
            ),
            f"{one['accuracy']:.4f} {one['seconds']:5.1f} s",
        )
    Console(width=120).print(table)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
