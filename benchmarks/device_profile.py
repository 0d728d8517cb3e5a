"""Profiling a device by pieces: how long it takes, and how well pieces predict whole subnets.

    python benchmarks/device_profile.py [ARTIFACT] [--engines torch onnxruntime openvino]

Prints one table and writes one JSON file. In each round every engine profiles the artifact by
pieces, as `compofa profile` does, and then times other subnets whole: drawn by lot, none of those
that the profile itself was corrected by or checked on. The figures are medians over the rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from supernet import artifact, shipped
from supernet.architecture import Architecture
from supernet.artifact import Artifact
from training.evaluate import asked_for
from training.profiles.engines import ENGINES, Setting, check_setting
from training.profiles.portable.check import Check
from training.profiles.portable.machine import processor
from training.profiles.profile import by_piece, by_subnet, profile

RESULT = Path("benchmarks/results/device_profile.json")
Row = dict[str, Any]


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("artifact", type=Path, nargs="?", default=shipped.artifact_folder())
    parser.add_argument("--engines", nargs="+", choices=list(ENGINES), default=list(ENGINES))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--subnets", type=int, default=60, help="timed whole, to compare with")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--result", type=Path, default=RESULT, help=f"{RESULT} by default")
    given = parser.parse_args(arguments)
    loaded = artifact.load(given.artifact)
    rounds: dict[str, list[Row]] = {engine: [] for engine in given.engines if is_there(engine)}
    for i in range(given.rounds):
        for engine, rows in rounds.items():
            rows.append(one_round(loaded, Setting(engine, given.threads), given.subnets, i))
            print(f"round {i + 1}, {engine}: {rows[-1]}", file=sys.stderr)
    document = {
        "hardware": processor(),
        "artifact": loaded.manifest.name,
        "entries": len(loaded.manifest.catalog),
        "settings": {name: getattr(given, name) for name in ("threads", "subnets", "rounds")},
        "engines": {
            engine: {"median": medians(rows), "rounds": rows} for engine, rows in rounds.items()
        },
    }
    report(document)
    given.result.parent.mkdir(parents=True, exist_ok=True)
    given.result.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 0


def is_there(engine: str) -> bool:
    try:
        check_setting(Setting(engine))
    except ValueError as error:
        print(f"skipped: {error}", file=sys.stderr)
        return False
    return True


def one_round(loaded: Artifact, setting: Setting, count: int, seed: int) -> Row:
    """A profile by pieces, and how far it is from `count` subnets that were timed whole."""
    listed = asked_for(list(loaded.manifest.catalog.subnets()), loaded.supernet.space)
    plan = by_piece(loaded.supernet, listed)
    load = os.getloadavg()[0]
    began = time.perf_counter()
    table, own = profile(loaded, "here", plan, setting)
    took = time.perf_counter() - began
    others = sorted(table.latency_ms.keys() - {*plan.fitted, *plan.held_out})
    drawn = [Architecture.parse(s) for s in random.Random(seed).sample(others, count)]
    began = time.perf_counter()
    whole, _ = profile(loaded, "here", by_subnet(loaded.supernet, drawn), setting)
    by_subnet_s = (time.perf_counter() - began) * len(listed) / count
    predicted = [table.latency_ms[subnet] for subnet in whole.latency_ms]
    check = Check.of(predicted, list(whole.latency_ms.values()))
    assert own is not None
    return {
        "seconds": took,
        "by_subnet_seconds": by_subnet_s,
        "rank_correlation": check.rank_correlation,
        "mean_error": check.mean_error,
        "worst_error": check.worst_error,
        "own_mean_error": own.mean_error,
        "discarded": table.conditions["discarded"],
        "load": load,
    }


def medians(rows: Sequence[Row]) -> Row:
    numbers = [name for name, value in rows[0].items() if not isinstance(value, str)]
    return {name: statistics.median(row[name] for row in rows) for name in numbers}


def report(document: Row) -> None:
    settings = document["settings"]
    caption = (
        f"{document['hardware']}, {settings['threads']} thread(s); {document['entries']} subnets "
        f"of {document['artifact']}; errors on {settings['subnets']} others timed whole, medians "
        f"of {settings['rounds']} rounds"
    )
    table = Table(title="Profiling a device by pieces", caption=caption)
    for heading in ("engine", "s", "s by subnet", "rank correlation", "mean error", "worst"):
        table.add_column(heading, justify="left" if heading == "engine" else "right")
    for engine, found in document["engines"].items():
        row = found["median"]
        table.add_row(
            engine, f"{row['seconds']:.1f}", f"{row['by_subnet_seconds']:.0f}",
            f"{row['rank_correlation']:.3f}", f"{row['mean_error']:.1%}",
            f"{row['worst_error']:.1%}",
        )  # fmt: skip
    Console(width=120).print(table)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
