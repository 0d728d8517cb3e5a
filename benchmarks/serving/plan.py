"""What `compofa plan` says of a gateway, against what the gateway does.

    python benchmarks/serving/plan.py [--shares 0.5 0.8 1 1.2] [--deadlines-ms 50 100]

The net is of ImageNet's size. What a request costs besides its run is measured first, in a closed
loop of JPEGs: the client, which shares the cores here, is part of it. Then requests come at random,
at shares of what the simulation says the gateway carries with 99.9 % in time; printed are the share
in time and the mean accuracy, as simulated and as measured with the same arrivals.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from net import DEVICE_CLASS, FIXED, imagenet_artifact
from replay import Outcome, Times, photographs, replay
from rich.console import Console
from rich.table import Table
from served import gateway
from slo import capacity

from gateway.capacity.plan import plan
from gateway.capacity.preparation import preparation_ms
from gateway.capacity.replica import RUNS_NOISE, Client, Replica
from gateway.capacity.traffic import Poisson
from gateway.commands.plan import handling_of
from gateway.config import ServerConfig
from gateway.engine_opening import opened_engine, scheduling_limits, settled
from gateway.engines.costs import Costs, CostsByMacs
from gateway.engines.net import Net
from gateway.engines.opening import cpus
from gateway.request import Constraints
from gateway.scheduling.dispatcher import Limits
from gateway.scheduling.ladder import ladder_of
from gateway.stores.by_url import read_device_classes

RESULT = Path("benchmarks/results/serving-plan.json")
ATTAINMENT = 0.999
ROWS = 8  # in a batch of a full gateway


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--shares", type=float, nargs="+", default=(0.5, 0.8, 1.0, 1.2))
    parser.add_argument("--deadlines-ms", type=float, nargs="+", default=(50.0, 100.0))
    parser.add_argument("--seconds", type=float, default=60.0)
    given = parser.parse_args()
    artifact, images = imagenet_artifact(), photographs()
    net = Net(artifact)
    config = settled(ServerConfig(artifact=artifact), net)
    engine, costs = opened_engine(config, net)
    limits = scheduling_limits(config, engine)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder, gateway(artifact, Path(folder)) as target:
        request_ms = _request_ms(target, images[0], Path(folder), costs, limits.workers)
        client = _client(net, config, costs)
        for deadline_ms in given.deadlines_ms:
            replica = _replica(client, costs, request_ms, limits, deadline_ms)
            holds = plan(replica, Poisson(), 1.0, ATTAINMENT).capacity
            for share in given.shares:
                rate = share * holds
                (arrivals,) = Poisson(round(given.seconds * rate)).shares(rate, 1)
                simulated = replica.simulate(arrivals)
                measured = _figures(_asked(target, arrivals, images, deadline_ms), deadline_ms)
                rows.append(
                    {"deadline_ms": deadline_ms, "share": share, "rate": rate, "measured": measured}
                    | {"simulated": [simulated.attainment, simulated.accuracy]}
                )
                _print(rows)
    found = {
        "cores": cpus(),
        "request_ms": request_ms,
        "preparation_ms": preparation_ms(net.manifest),
        "rows": rows,
    }
    print({name: value for name, value in found.items() if name != "rows"})
    RESULT.write_text(json.dumps(found, indent=1) + "\n", "utf-8")


def _client(net: Net, config: ServerConfig, costs: Costs | CostsByMacs) -> Client:
    classes = read_device_classes(config.artifact, net.manifest, config.store)
    engine_ms = {e.subnet: costs.of(e.subnet).ms(1) for e in net.manifest.catalog.entries}
    candidates = classes.candidates(DEVICE_CLASS)
    return Client(DEVICE_CLASS, ladder_of(candidates, Constraints(DEVICE_CLASS), engine_ms))


def _replica(
    client: Client,
    costs: Costs | CostsByMacs,
    request_ms: float,
    limits: Limits,
    deadline_ms: float,
) -> Replica:
    return Replica(
        [client],
        costs.of,
        limits,
        deadline_ms,
        handling_of(request_ms),
        cpus(),
        cpus() // limits.workers,
        RUNS_NOISE,
    )


def _request_ms(
    target: str, image: bytes, folder: Path, costs: Costs | CostsByMacs, workers: int
) -> float:
    """What a full gateway takes for each request beyond its run, on a worker: the median over some
    subnets. The client's share of the cores is in it."""
    found = []
    for subnet in FIXED:
        all_ms = 1000 * workers / capacity(target, subnet, image, folder)
        found.append(all_ms - costs.of(subnet).ms(ROWS) / ROWS)
    return median(found)


def _ignored(_: bool) -> None:
    pass


def _asked(target: str, arrivals: Times, images: list[bytes], deadline_ms: float) -> list[Outcome]:
    asking = replay(
        target, arrivals / 1000, images, deadline_ms / 1000, lambda: DEVICE_CLASS, _ignored
    )
    return asyncio.run(asking)


def _figures(outcomes: list[Outcome], deadline_ms: float) -> list[float]:
    """The share in time, and the mean accuracy of those."""
    held = [
        o.accuracy for o in outcomes if o.accuracy is not None and o.taken_s <= deadline_ms / 1000
    ]
    return [len(held) / len(outcomes), float(np.mean(held or [0.0]))]


def _print(rows: list[dict[str, Any]]) -> None:
    table = Table("deadline", title=f"One gateway on {cpus()} cores, as simulated and as measured")
    headings = ("requests/s", "in time, simulated", "measured", "accuracy, simulated", "measured")
    for heading in headings:
        table.add_column(heading, justify="right")
    for row in rows:
        (in_time, accuracy), (in_time_too, accuracy_too) = row["simulated"], row["measured"]
        figures = (f"{x:.2%}" for x in (in_time, in_time_too, accuracy, accuracy_too))
        table.add_row(f"{row['deadline_ms']:g} ms", f"{row['rate']:.0f}", *figures)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
