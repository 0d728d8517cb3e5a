"""Deadlines held and accuracy delivered on a production trace: the gateway against fixed choices.

    python benchmarks/serving/slo.py [--arrivals FILE] [--speeds 0.5 1 2] [--deadlines-ms 50 100]
        [--parts 8 --requests 300]

The trace's arrivals are compressed in time so that they come, on average, at 0.5, 1 and 2 times
what the gateway does with the largest subnet, and the trace's bursts at a multiple of that. All of
it takes an hour; parts of so many requests each, evenly spread over it, take less. Every request is
a JPEG with a deadline. Policies are the gateway's own scheduling; one subnet for all; and a ladder
that steps down when answers are late and up when they are not, as a client could do it. One client
on the same cores asks a gateway for each policy, all alike: none goes by a burst that another
policy made worse, and each is idle while the others are asked. Before, all answer closed loops of
each fixed choice, by which it is compiled whole, and some hundred requests of the trace. Printed
are the share answered in time, over all and in the busiest twentieth of the seconds; the mean
accuracy of those; and of all, where an answer that is late or none is wrong; beside the most that
any policy could deliver (`bound.py`). Policies take turns in each of the parts, of which the first
requests are not counted: a gateway that has been idle knows nothing of how busy its cores are, and
within a trace it is not idle. The figures are means, and the lowest and the highest share in time
stand beside theirs. How far the gateway is ahead of all has its standard error, from the
differences in the parts.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import fmean, median
from typing import Any, TypeAlias

import numpy as np
from bound import Choice, best_possible
from load import measured
from net import DEVICE_CLASS, FIXED, imagenet_artifact, only
from replay import Choose, Outcome, Times, photographs, replay
from rich.console import Console
from rich.table import Table
from served import METHOD, gateway
from trace_parts import ARRIVALS, ahead, parts_of

from gateway.capacity.traffic import Recorded
from gateway.engines.opening import cpus
from protos.compofa.v1 import gateway_pb2
from supernet.manifest import read_manifest

RESULT = Path("benchmarks/results/serving-slo.json")
OURS = "compofa"
BUSY_SHARE = 0.05
WARM_UP = 400  # requests by each policy
LEAD = 50  # requests of each part that are not counted

Policy: TypeAlias = tuple[Choose, Callable[[bool], None]]
"""The device class of the next request, and what hears whether an answer was in time."""


@dataclass(slots=True)
class Ladder:
    """Steps down after a late answer, up again after a second without one."""

    rungs: Sequence[str]
    place: int = 0
    changed_at: float = field(default_factory=time.monotonic)

    def choose(self) -> str:
        return only(self.rungs[self.place])

    def heard(self, in_time: bool) -> None:
        now = time.monotonic()
        since = now - self.changed_at
        if not in_time and since > 0.1:
            self.place, self.changed_at = min(self.place + 1, len(self.rungs) - 1), now
        elif in_time and since > 1.0:
            self.place, self.changed_at = max(self.place - 1, 0), now


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--arrivals", type=Path, default=ARRIVALS)
    parser.add_argument("--speeds", type=float, nargs="+", default=(0.5, 1.0, 2.0))
    parser.add_argument("--deadlines-ms", type=float, nargs="+", default=(50.0, 100.0))
    parser.add_argument("--parts", type=int, default=1, help="of the trace, evenly spread over it")
    parser.add_argument("--requests", type=int, help="of each part; all by default")
    given = parser.parse_args()
    trace = Recorded.read(given.arrivals)
    images = photographs()
    artifact = imagenet_artifact()
    accuracy_of = {e.subnet: e.accuracy for e in read_manifest(artifact).catalog.entries}
    rows: list[dict[str, Any]] = []
    with _gateways(artifact) as targets:
        with tempfile.TemporaryDirectory() as folder:
            each = {  # of all, for what ran often is compiled whole
                s: [capacity(target, s, images[0], Path(folder)) for target in targets.values()]
                for s in FIXED
            }
        rates = {subnet: median(found) for subnet, found in each.items()}
        choices = [Choice(accuracy_of[s], cpus() / rates[s]) for s in FIXED]
        for speed in given.speeds:
            arrivals = trace.at(speed * rates[FIXED[-1]]) / 1000
            requests = LEAD + given.requests if given.requests else len(arrivals)
            parts = parts_of(arrivals, requests, given.parts)
            if not rows:
                Asked(targets, [parts[0][:WARM_UP]], images, 1.0).rows()
            for deadline_ms in given.deadlines_ms:
                setting = {"speed": speed, "deadline_ms": deadline_ms}
                best = _bound(parts, choices, deadline_ms / 1000)
                rows.append(setting | {"policy": "best possible"} | best)
                asked = Asked(targets, parts, images, deadline_ms / 1000)
                rows += [setting | row for row in asked.rows()]
                _print(rows)
    requests = sum(len(part) - LEAD for part in parts)
    result = {"cores": cpus(), "requests": requests, "answers_per_s": rates, "rows": rows}
    RESULT.write_text(json.dumps(result, indent=1) + "\n", "utf-8")


@contextmanager
def _gateways(artifact: Path) -> Iterator[dict[str, str]]:
    """Where each policy's listens."""
    with ExitStack() as stack:
        targets = {}
        for name in _policies():
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            targets[name] = stack.enter_context(gateway(artifact, folder))
        yield targets


def capacity(target: str, subnet: str, image: bytes, folder: Path) -> float:
    """Answers a second in a closed loop of 64."""
    request = folder / "request"
    message = gateway_pb2.InferRequest(device_class=only(subnet), image=image)
    request.write_bytes(message.SerializeToString())
    asked = ["grpc", target, "--method", METHOD, "--request", str(request)]
    return measured(asked, 64, 5.0).answers_per_s


def _bound(parts: list[Times], choices: Sequence[Choice], deadline_s: float) -> dict[str, float]:
    bounds = [best_possible(part[LEAD:], choices, deadline_s, cpus()) for part in parts]
    attainment = fmean(bound.attainment for bound in bounds)
    delivered = fmean(bound.attainment * bound.accuracy for bound in bounds)
    return {
        "attainment": attainment,
        "accuracy": delivered / attainment,
        "delivered": delivered,
    }


@dataclass(frozen=True, slots=True)
class Asked:
    """Every policy, asked the same of its gateway."""

    targets: dict[str, str]
    parts: list[Times]
    images: list[bytes]
    deadline_s: float

    def rows(self) -> list[dict[str, Any]]:
        """The means of all parts."""
        found: dict[str, list[dict[str, float]]] = {name: [] for name in _policies()}
        for number, part in enumerate(self.parts):
            turns = list(_policies().items())
            for name, policy in turns if number % 2 else reversed(turns):
                found[name].append(_figures(self.outcomes(part, name, policy), self.deadline_s))
        return [{"policy": name} | _together(each, found[OURS]) for name, each in found.items()]

    def outcomes(self, part: Times, name: str, policy: Policy) -> list[Outcome]:
        asking = replay(self.targets[name], part, self.images, self.deadline_s, *policy)
        return asyncio.run(asking)


def _policies() -> dict[str, Policy]:
    ladder = Ladder(FIXED[::-1])
    fixed = {f"always {subnet}": (partial(only, subnet), _deaf) for subnet in FIXED}
    return {
        OURS: (lambda: DEVICE_CLASS, _deaf),
        "ladder": (ladder.choose, ladder.heard),
    } | fixed


def _deaf(in_time: bool) -> None:
    """What a policy does that does not listen."""


def _together(parts: list[dict[str, float]], ours: list[dict[str, float]]) -> dict[str, Any]:
    shares = [each["attainment"] for each in parts]
    delivered = [[each["delivered"] for each in those] for those in (ours, parts)]
    means = {name: fmean(each[name] for each in parts) for name in parts[0]}
    means["accuracy"] = means["delivered"] / means["attainment"] if any(shares) else 0.0
    spread = {"lowest": min(shares), "highest": max(shares)}
    return means | spread | {"ours_ahead": ahead(*delivered)}


def _figures(outcomes: list[Outcome], deadline_s: float) -> dict[str, float]:
    """Late answers count as none, and what came before `LEAD` others not at all."""
    outcomes = sorted(outcomes, key=lambda o: o.arrived_s)[LEAD:]
    arrived = np.array([o.arrived_s for o in outcomes])
    accuracies = [o.accuracy if o.taken_s <= deadline_s else None for o in outcomes]
    held = np.array([accuracy is not None for accuracy in accuracies])
    spans = np.floor(arrived / (arrived.max() / 1000 + 1e-9)).astype(int)  # thousandths of it
    counts = np.bincount(spans)
    busy = np.isin(spans, np.argsort(-counts)[: round(BUSY_SHARE * len(counts))])
    return {
        "attainment": float(held.mean()),
        "in_bursts": float(held[busy].mean()),
        "delivered": float(np.mean([a or 0.0 for a in accuracies])),
    }


def _print(rows: list[dict[str, Any]]) -> None:
    table = Table("speed", "deadline", "policy", title="In time, and mean accuracy")
    for heading in ("in time", "from, to", "in bursts", "of those", "of all", "compofa ahead"):
        table.add_column(heading, justify="right")
    for row in rows:
        measured = "in_bursts" in row
        spread = f"{row['lowest']:.1%}, {row['highest']:.1%}" if measured else "-"
        bursts = f"{row['in_bursts']:.1%}" if measured else "-"
        shares = (f"{row['attainment']:.1%}", spread, bursts)
        ahead = _ahead(*row["ours_ahead"]) if measured and row["policy"] != OURS else "-"
        accuracies = (f"{row['accuracy']:.2%}", f"{row['delivered']:.2%}", ahead)
        setting = (f"{row['speed']:g}x", f"{row['deadline_ms']:g} ms", row["policy"])
        table.add_row(*setting, *shares, *accuracies)
    Console(width=140).print(table)


def _ahead(mean: float, error: float) -> str:
    return f"{100 * mean:+.1f} ± {100 * error:.1f}"


if __name__ == "__main__":
    main()
