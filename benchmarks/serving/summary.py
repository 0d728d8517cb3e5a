"""What the serving benchmarks found, against what was aimed at, as the table in the README.

    python benchmarks/serving/summary.py

Reads what the other scripts of this folder have left in benchmarks/results; what has not been
measured is left out. Nothing here measures.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path("benchmarks/results")
LARGEST, SMALLEST = "d4-4-4-4-4@224", "d2-2-2-2-2@160"
Pair = tuple[str, str]
"""What was aimed at and what was found."""


def main() -> None:
    print("| aimed at | found | by |")
    print("|---|---|---|")
    for name, lines in PARTS.items():
        path = RESULTS / f"serving-{name}.json"
        if path.exists():
            for aim, found in lines(json.loads(path.read_text("utf-8"))):
                print(f"| {aim} | {found} | `{name}.py` |")


def _actuation(found: Any) -> Iterator[Pair]:
    micros = found["microseconds"]
    switch, alone = (micros[f"{who}, another subnet"] for who in ("engine", "runtime alone"))
    noise = micros["engine, the same again"]["p99"]
    yield (
        "another subnet: p99 at most 100 µs more",
        f"p50 {switch['p50']:.0f} µs, p99 {switch['p99']:.0f} where the same again has "
        f"{noise:.0f}; the runtime alone, each compiled whole: {alone['p50']:.0f} and "
        f"{alone['p99']:.0f}",
    )
    ratio = micros["extract and run"]["p50"] / max(1.0, switch["p50"])
    yield "100 times less than copying a subnet out", f"{ratio:.0f} times, medians"
    for way, limits in (("chain", {1: 1.5, 8: 1.2}), ("whole", {1: 1.1, 8: 1.1})):
        for batch, limit in limits.items():
            ratios = [row[way] for row in found["ratios"] if row["batch"] == batch]
            aim = f"{way}, batch {batch}: at most {limit:g} times the runtime alone"
            yield aim, _span(ratios)


def _memory(found: Any) -> Iterator[Pair]:
    own = found["supernet_bytes"]
    rows = {(row["way"], row["subnets"]): row for row in found["rows"]}
    together = rows["together", 243]
    weights = together["weight_bytes"] / own
    yield "all 243: weights at most 2.5 times the supernet's", f"{weights:.2f} times"
    shares = [
        f"{row['resident_bytes'] / together['resident_bytes']:.1f} times for {count} apart"
        for (way, count), row in rows.items()
        if way == "separate"
    ]
    resident = together["resident_bytes"] / 2**20
    yield "memory of all 243, buffers and all", f"{resident:.0f} MiB; {', '.join(shares)}"


def _start(found: Any) -> Iterator[Pair]:
    for how, limit in (("cold", 15), ("again", 4)):
        worst = max(found["seconds"]["auto"][how])
        yield (
            f"first answer, {how}: at most {limit} s",
            f"{worst:.1f} s, the slowest of {_count(found)}",
        )


def _count(found: Any) -> int:
    return len(found["seconds"]["auto"]["cold"])


def _overhead(found: Any) -> Iterator[Pair]:
    rows = {(row["subnet"], row["who"], row["in_flight"]): row for row in found["rows"]}
    for subnet in (SMALLEST, LARGEST):
        gateway, engine = (rows[subnet, who, 16] for who in ("gateway", "engine"))
        share = gateway["answers_per_s"] / engine["answers_per_s"]
        yield f"90 % of the engine's throughput, {subnet}", f"{share:.0%}"


def _servers(found: Any) -> Iterator[Pair]:
    for subnet in (SMALLEST, LARGEST):
        rows = {row["who"]: row for row in found["rows"] if row["subnet"] == subnet}
        rate = {who: row["answers_per_s"] for who, row in rows.items()}
        for rival, precision, limit in (
            ("TorchServe", "f32", 4), ("TorchServe", "bf16", 7), ("LitServe", "f32", 2),
            ("Mosec", "f32", 2),
        ):  # fmt: skip
            best = max(value for who, value in rate.items() if who.startswith(rival))
            ratio = rate[f"gateway, {precision}"] / best
            yield f"{limit} times {rival}'s throughput, {precision}, {subnet}", f"{ratio:.1f} times"


def _mixed(found: Any) -> Iterator[Pair]:
    ratios = [row["common"] for row in found["rows"]]
    yield (
        "batches of different subnets, together as far as they go",
        f"{_span(ratios)} times as long",
    )


def _precision(found: Any) -> Iterator[Pair]:
    cost = max(row["accuracy"]["f32"] - row["accuracy"]["bf16"] for row in found)
    yield "bf16 costs at most 0.1 points", f"{100 * cost:.2f} points at most"


def _slo(found: Any) -> Iterator[Pair]:
    groups: dict[tuple[float, float], dict[str, Any]] = {}
    for row in found["rows"]:
        groups.setdefault((row["speed"], row["deadline_ms"]), {})[row["policy"]] = row
    for (speed, deadline_ms), rows in groups.items():
        ours, best = rows["compofa"], rows["best possible"]
        smallest = rows[f"always {SMALLEST}"]
        ahead, error = (100 * points for points in smallest["ours_ahead"])
        fixed = max(row["delivered"] for name, row in rows.items() if name.startswith("always"))
        yield (
            f"trace at {speed:g} times the largest's capacity, {deadline_ms:g} ms",
            f"{ours['attainment']:.1%} in time at {ours['accuracy']:.1%}, {ours['delivered']:.1%} "
            f"of all; smallest alone {smallest['attainment']:.1%} at {smallest['accuracy']:.1%}, "
            f"{ahead:+.1f} ± {error:.1f} points of all against it; best fixed choice {fixed:.1%} "
            f"of all, ladder {rows['ladder']['delivered']:.1%}; at most {best['attainment']:.1%} "
            f"at {best['accuracy']:.1%}",
        )


def _plan(found: Any) -> Iterator[Pair]:
    pairs = [(row["simulated"], row["measured"]) for row in found["rows"]]
    in_time, accuracy = (max(abs(s[n] - m[n]) for s, m in pairs) for n in (0, 1))
    what = f"off by up to {100 * in_time:.1f} points in time, {100 * accuracy:.1f} of accuracy"
    yield "`compofa plan` against a gateway", what


def _soak(found: Any) -> Iterator[Pair]:
    errors = sum(found["errors"].values())
    what = f"{found['answers']} answers, {errors} errors, memory {found['growth_percent']:+.1f} %"
    yield f"{found['minutes']:g} minutes at {found['load']:.0%}: no error, at most 1 % growth", what


def _span(values: Sequence[float]) -> str:
    return f"{min(values):.2f} to {max(values):.2f}"


PARTS: dict[str, Callable[[Any], Iterator[Pair]]] = {
    "actuation": _actuation,
    "memory": _memory,
    "start": _start,
    "overhead": _overhead,
    "servers": _servers,
    "precision": _precision,
    "plan": _plan,
    "slo": _slo,
    "soak": _soak,
    "mixed": _mixed,
}


if __name__ == "__main__":
    main()
