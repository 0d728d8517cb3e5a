"""How learned tables do in a simulated fleet: what moves the subnets that nobody has reported?

    python benchmarks/studies/learning.py

No device was measured for this. Clients of one class, each a little faster or slower than the
next, get what is chosen by the table within their budget and report what it takes on their device.
The truth differs from the shipped table in the ways that are listed. Printed: how far what was
chosen was over its budget, on average, and how far off the table is in the end, where subnets
without evidence move along with their neighbours (as in `gateway.learning.learned_table`), all
alike, or not at all. Three of twelve clients lie.
"""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Callable
from statistics import mean, median

from gateway.device_classes import DeviceClasses
from gateway.errors import NoSubnet
from gateway.learning.evidence import Estimate, Evidence
from gateway.learning.learned_table import Bounds, learned_table, reported_ratios
from gateway.request import Constraints
from gateway.select import select
from gateway.stores.tables import StoredTable
from supernet.latency import LatencyTable, read_bundled_tables
from supernet.manifest import read_manifest
from supernet.shipped import artifact_folder

NAME = "reference-cpu"
BUDGETS_MS = (1.8, 2.2, 2.8, 4.0)
ROUNDS, WINDOW = 120, 60  # intervals
HONEST, LIARS = 9, 3
BOUNDS = Bounds(min_clients=5, min_change=0.05, max_step=1.25, max_total=4.0)

MANIFEST = read_manifest(artifact_folder())
BASE = StoredTable(
    0, next(t for t in read_bundled_tables(artifact_folder()) if t.device_class == NAME)
)
LARGEST_MS = max(BASE.table.latency_ms.values())

Truth = Callable[[str, float, int], float]  # subnet, the table's ms, round → ms
TRUTHS: dict[str, Truth] = {
    "as the table": lambda _, ms, __: ms,
    "1.5 times": lambda _, ms, __: 1.5 * ms,
    "0.6 times": lambda _, ms, __: 0.6 * ms,
    "1 to 1.8 times, by size": lambda _, ms, __: ms * (1 + 0.8 * ms / LARGEST_MS),
    "half, and 1 ms": lambda _, ms, __: 0.5 * ms + 1.0,
    "1.4 times, each 10 % off": lambda s, ms, _: (
        ms * 1.4 * math.exp(random.Random(s).gauss(0, 0.1))
    ),
    "1.6 times from round 40 on": lambda _, ms, now: ms * (1.6 if now >= 40 else 1.0),
}
WAYS = ("neighbours", "alike", "not at all")


def main() -> None:
    print(f"{'truth':28}" + "".join(f"{way:>24}" for way in WAYS))
    for name, truth in TRUTHS.items():
        cells = (fleet(truth, way) for way in WAYS)
        print(
            f"{name:28}" + "".join(f"{over:10.1%} over {error:5.1%} off" for over, error in cells)
        )


def fleet(truth: Truth, way: str, seed: int = 0) -> tuple[float, float]:
    """How far over budget the chosen subnets were on average, and the table's mean error."""
    chance, classes, current = random.Random(seed), DeviceClasses(MANIFEST, [BASE.table]), BASE
    speeds = [math.exp(chance.gauss(0, 0.06)) for _ in range(HONEST)]
    heard: dict[tuple[str, str], list[tuple[int, float]]] = defaultdict(list)
    over = []
    for now in range(ROUNDS):
        for subnet, budget_ms in chosen(classes).items():
            ms = truth(subnet, BASE.table.latency_ms[subnet], now)
            over.append(max(0.0, ms * median(speeds) / budget_ms - 1.0))
            told = [ms * speed * math.exp(chance.gauss(0, 0.05)) for speed in speeds]
            told += [ms * chance.choice((0.1, 5.0)) for _ in range(LIARS)]
            for client, said_ms in enumerate(told):
                heard[str(client), subnet].append((now, said_ms))
        table = follow(current, evidence(heard, now), way)
        if table is not None:
            current = StoredTable(current.version + 1, table)
            classes.replace({NAME: current})
    errors = (
        abs(current.table.latency_ms[s] / (truth(s, ms, ROUNDS) * median(speeds)) - 1)
        for s, ms in BASE.table.latency_ms.items()
    )
    return mean(over), mean(errors)


def chosen(classes: DeviceClasses) -> dict[str, float]:
    found = {}
    for budget_ms in BUDGETS_MS:
        try:
            selection = select(classes.candidates(NAME), Constraints(NAME, budget_ms))
        except NoSubnet:
            continue
        found[selection.subnet] = budget_ms
    return found


def evidence(heard: dict[tuple[str, str], list[tuple[int, float]]], now: int) -> Evidence:
    estimates = []
    for (client, subnet), said in heard.items():
        recent = [ms for at, ms in said if at > now - WINDOW]
        if len(recent) >= 2:
            estimates.append(Estimate(client, subnet, median(recent), len(recent)))
    return Evidence(base=0, estimates=tuple(estimates))


def follow(current: StoredTable, told: Evidence, way: str) -> LatencyTable | None:
    table = learned_table(BASE, current, told, BOUNDS)
    if table is None or way == "neighbours":
        return table
    ratios = reported_ratios(current.table, told, BOUNDS.min_clients)
    step = BOUNDS.max_step
    factor = min(max(median(ratios.values()), 1 / step), step) if way == "alike" else 1.0
    others = {s: ms * factor for s, ms in current.table.latency_ms.items() if s not in ratios}
    return table.model_copy(update={"latency_ms": table.latency_ms | others})


if __name__ == "__main__":
    main()
