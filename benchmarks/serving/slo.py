"""Deadlines held and accuracy delivered on a production trace: the gateway against fixed choices.

    python benchmarks/serving/slo.py [--arrivals FILE] [--speeds 0.5 1 2] [--deadlines-ms 50 100]

The trace's arrivals are compressed in time so that they come, on average, at 0.5, 1 and 2 times
what the gateway does with the largest subnet, and the trace's bursts at a multiple of that. Every
request is a JPEG with a deadline. All policies are asked of the same kind of gateway, from one
client on the same cores, each after a fifth of the trace to warm up: the gateway's own scheduling;
one subnet for all; and a ladder that steps down when answers are late and up when they are not, as
a client could do it. Printed are the share answered in time, over all and in the busiest twentieth
of the seconds, and the mean accuracy of those, beside the most that any policy could deliver
(`bound.py`).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from bound import Choice, best_possible
from load import measured
from net import DEVICE_CLASS, FIXED, imagenet_artifact, only
from replay import Choose, Outcome, Times, photographs, replay
from rich.console import Console
from rich.table import Table
from served import METHOD, gateway

from gateway.capacity.traffic import Recorded
from gateway.engines.opening import cpus
from protos.compofa.v1 import gateway_pb2
from supernet.manifest import read_manifest

ARRIVALS = Path(__file__).parents[3] / "shared/data/azure_code_arrivals.csv"
RESULT = Path("benchmarks/results/serving-slo.json")
BUSY_SHARE = 0.05


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
    parser.add_argument("--requests", type=int, help="of the trace, from its start; all by default")
    given = parser.parse_args()
    trace = Recorded(Recorded.read(given.arrivals).arrivals_s[: given.requests])
    images = photographs()
    artifact = imagenet_artifact()
    accuracy_of = {e.subnet: e.accuracy for e in read_manifest(artifact).catalog.entries}
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder, gateway(artifact, Path(folder)) as target:
        rates = {s: capacity(target, s, images[0], Path(folder)) for s in FIXED}
        choices = [Choice(accuracy_of[s], cpus() / rates[s]) for s in FIXED]
        for speed in given.speeds:
            arrivals = trace.at(speed * rates[FIXED[-1]]) / 1000
            for deadline_ms in given.deadlines_ms:
                setting = {"speed": speed, "deadline_ms": deadline_ms}
                bound = best_possible(arrivals, choices, deadline_ms / 1000, cpus())
                rows.append(
                    setting
                    | {"policy": "best possible", "attainment": bound.attainment}
                    | {"in_bursts": None, "accuracy": bound.accuracy}
                )
                for name, outcomes in _policies(target, arrivals, images, deadline_ms / 1000):
                    rows.append(setting | {"policy": name} | _figures(outcomes, deadline_ms / 1000))
                    _print(rows)
    result = {"cores": cpus(), "answers_per_s": rates, "rows": rows}
    RESULT.write_text(json.dumps(result, indent=1) + "\n", "utf-8")


def capacity(target: str, subnet: str, image: bytes, folder: Path) -> float:
    """Answers a second in a closed loop of 64."""
    request = folder / "request"
    message = gateway_pb2.InferRequest(device_class=only(subnet), image=image)
    request.write_bytes(message.SerializeToString())
    asked = ["grpc", target, "--method", METHOD, "--request", str(request)]
    return measured(asked, 64, 5.0).answers_per_s


def _policies(
    target: str, arrivals: Times, images: list[bytes], deadline_s: float
) -> Sequence[tuple[str, list[Outcome]]]:
    def run(choose: Choose, heard: Callable[[bool], None] = lambda _: None) -> list[Outcome]:
        for some in (arrivals[: len(arrivals) // 5], arrivals):  # the first to warm up
            outcomes = asyncio.run(replay(target, some, images, deadline_s, choose, heard))
        return outcomes

    ladder = Ladder(FIXED[::-1])
    found = [("compofa", run(lambda: DEVICE_CLASS)), ("ladder", run(ladder.choose, ladder.heard))]
    for subnet in FIXED:
        found.append((f"always {subnet}", run(lambda subnet=subnet: only(subnet))))  # type: ignore[misc]
    return found


def _figures(outcomes: list[Outcome], deadline_s: float) -> dict[str, float]:
    """Late answers count as none."""
    arrived = np.array([o.arrived_s for o in outcomes])
    accuracies = [o.accuracy if o.taken_s <= deadline_s else None for o in outcomes]
    held = np.array([accuracy is not None for accuracy in accuracies])
    spans = np.floor(arrived / (arrived.max() / 1000 + 1e-9)).astype(int)  # thousandths of it
    counts = np.bincount(spans)
    busy = np.isin(spans, np.argsort(-counts)[: round(BUSY_SHARE * len(counts))])
    return {
        "attainment": float(held.mean()),
        "in_bursts": float(held[busy].mean()),
        "accuracy": float(np.mean([a for a in accuracies if a is not None] or [0.0])),
    }


def _print(rows: list[dict[str, Any]]) -> None:
    table = Table("speed", "deadline", "policy", title="In time, and mean accuracy of those")
    for heading in ("in time", "in bursts", "accuracy"):
        table.add_column(heading, justify="right")
    for row in rows:
        bursts = "-" if row["in_bursts"] is None else f"{row['in_bursts']:.2%}"
        figures = (f"{row['attainment']:.2%}", bursts, f"{row['accuracy']:.2%}")
        table.add_row(f"{row['speed']:g}x", f"{row['deadline_ms']:g} ms", row["policy"], *figures)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
