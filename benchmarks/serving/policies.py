"""What the scheduler's decisions are worth on the trace, simulated: the same figures each time.

    python benchmarks/serving/policies.py [--arrivals FILE] [--speeds 0.25 0.5 1 2]
        [--deadlines-ms 50 100] [--set MARGIN=1.5 EXTRA=0.07 LOSING_MS=0]

Differences between policies are smaller than a shared machine's noise: to see one of a point in a
real gateway takes an hour, here seconds. Client, event loop and workers share two cores, as
`compofa plan` simulates them; runs take what MACs say. Printed are, for machines of two speeds,
what part of the requests is in time and the mean accuracy of all, an answer that is late or none
counting as wrong: of the scheduler's choices, and of the smallest subnet for all, over six parts
of the trace, without the first requests of each, before which the gateway has seen nothing.
`--set` tries other constants of `gateway.scheduling.dispatcher`. `slo.py` measures the same with
a real gateway.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean

from net import DEVICE_CLASS, FIXED, imagenet_artifact, only
from rich.console import Console
from rich.table import Table
from trace_parts import ARRIVALS, ahead, parts_of

from gateway.capacity.replica import RUNS_NOISE, Client, Handling, Replica
from gateway.capacity.traffic import Recorded, Times
from gateway.engines.costs import Line
from gateway.request import Constraints
from gateway.scheduling import dispatcher
from gateway.scheduling.dispatcher import Limits
from gateway.scheduling.ladder import Ladder, ladder_of
from gateway.stores.by_url import read_device_classes
from supernet.manifest import read_manifest

RESULT = Path("benchmarks/results/serving-policies.json")
LARGEST_PER_S = 110.0  # 1x of the trace: about what a gateway answers of the largest subnet
RUN_MS, MS_PER_GMAC = 1.0, 35.0
HANDLING_MS = (1.2, 0.7, 0.7)  # of a worker, of the event loop, of the client
CORES = 2
LIMITS = Limits(max_pending=512, max_rows=8, workers=CORES)
SLOWER = (0.7, 1.0)
PARTS, REQUESTS, FIRST = 6, 1400, 200


@dataclass(frozen=True, slots=True)
class Row:
    """Shares of all requests; `ahead` of the smallest has its standard error beside it."""

    slower: float
    speed: float
    deadline_ms: float
    in_time: float
    delivered: float
    smallest_in_time: float
    smallest_delivered: float
    ahead: float
    error: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--arrivals", type=Path, default=ARRIVALS)
    parser.add_argument("--speeds", type=float, nargs="+", default=(0.25, 0.5, 1.0, 2.0))
    parser.add_argument("--deadlines-ms", type=float, nargs="+", default=(50.0, 100.0))
    parser.add_argument("--set", nargs="+", default=[], metavar="NAME=VALUE", dest="constants")
    given = parser.parse_args()
    for name, _, value in (text.partition("=") for text in given.constants):
        if not isinstance(getattr(dispatcher, name, None), float):
            parser.error(f"--set: {name}: expected a constant of gateway.scheduling.dispatcher")
        setattr(dispatcher, name, float(value))
    trace, artifact = Recorded.read(given.arrivals), imagenet_artifact()
    rows = []
    for slower in SLOWER:
        lines = _lines(artifact, slower)
        ours, smallest = (_ladder(artifact, lines, c) for c in (DEVICE_CLASS, only(FIXED[0])))
        for speed in given.speeds:
            parts = parts_of(trace.at(speed * LARGEST_PER_S), REQUESTS, PARTS)
            for deadline_ms in given.deadlines_ms:
                both = [
                    [_part(p, lines, w, deadline_ms, slower) for p in parts]
                    for w in (ours, smallest)
                ]
                rows.append(_row(slower, speed, deadline_ms, *both))
    _print(rows)
    if not given.constants:
        document = {"parts": PARTS, "requests": REQUESTS, "rows": [asdict(row) for row in rows]}
        RESULT.write_text(json.dumps(document, indent=1) + "\n", "utf-8")


def _lines(artifact: Path, slower: float) -> dict[str, Line]:
    entries = read_manifest(artifact).catalog.entries
    ms = {e.subnet: MS_PER_GMAC * e.macs / 1e9 for e in entries}
    return {name: Line(slower * RUN_MS, slower * each) for name, each in ms.items()}


def _ladder(artifact: Path, lines: Mapping[str, Line], device_class: str) -> Ladder:
    classes = read_device_classes(artifact, read_manifest(artifact), None)
    engine_ms = {name: line.ms(1) for name, line in lines.items()}
    return ladder_of(classes.candidates(device_class), Constraints(device_class), engine_ms)


def _part(
    arrivals: Times, lines: Mapping[str, Line], ladder: Ladder, deadline_ms: float, slower: float
) -> tuple[float, float]:
    """In time, and accuracy of all."""
    handling = Handling(*(slower * ms for ms in HANDLING_MS))
    clients, line = [Client(DEVICE_CLASS, ladder)], lines.__getitem__
    replica = Replica(clients, line, LIMITS, deadline_ms, handling, CORES, noise=RUNS_NOISE)
    found = replica.simulate(arrivals, uncounted=FIRST)
    return found.attainment, found.accuracies / found.requests


def _row(
    slower: float,
    speed: float,
    deadline_ms: float,
    ours: list[tuple[float, float]],
    smallest: list[tuple[float, float]],
) -> Row:
    (held, delivered), (smallest_held, smallest_delivered) = (
        zip(*ours, strict=True),
        zip(*smallest, strict=True),
    )
    means = map(fmean, (held, delivered, smallest_held, smallest_delivered))
    return Row(slower, speed, deadline_ms, *means, *ahead(delivered, smallest_delivered))


def _print(rows: list[Row]) -> None:
    table = Table("machine", "speed", "deadline", title="The scheduler, simulated on two cores")
    for heading in ("in time", "of all", "smallest: in time", "of all", "ahead"):
        table.add_column(heading, justify="right")
    for row in rows:
        setting = (f"{row.slower:g}", f"{row.speed:g}x", f"{row.deadline_ms:g} ms")
        ours = (f"{row.in_time:.1%}", f"{row.delivered:.2%}")
        smallest = (f"{row.smallest_in_time:.1%}", f"{row.smallest_delivered:.2%}")
        ahead = f"{100 * row.ahead:+.2f} ± {100 * row.error:.2f}"
        table.add_row(*setting, *ours, *smallest, ahead)
    mean = f"{fmean(row.delivered for row in rows):.2%}"
    table.add_row("mean", "", "", "", mean, "", f"{fmean(r.smallest_delivered for r in rows):.2%}")
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
