"""A new device class from a few measurements: how far off, for every pair of measured classes.

    python benchmarks/transfer.py [--measure] [--tables DIR]

Prints one table and writes one JSON file. The classes lie in `results/device_classes.json`: one
machine with different engines, threads, precisions and batch sizes, each timed twice; --measure
times them again. Block latencies in --tables, of a net for ImageNet of width 1.2, are one more. For
every ordered pair the subnets to measure are picked by the first class's table, and all others
predicted, by `supernet.transfer` and by simpler ways that look at the known latency alone.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from rivals import curves

from supernet import artifact, shipped
from supernet.architecture import Architecture
from supernet.artifact import Artifact, Description
from supernet.design_space import DesignSpace
from supernet.lookup_table import LookupTable
from supernet.lookup_table_files import find_lookup_tables, read_lookup_table
from supernet.manifest import Preprocessing, read_manifest
from supernet.model import Supernet
from supernet.normalization import PieceAffine
from supernet.normalization_shapes import normalization_shapes
from supernet.presets import imagenet_mbv3
from supernet.transfer import pick, transfer
from training.profiles.engines import Setting
from training.profiles.portable.check import Check
from training.profiles.portable.machine import processor
from training.profiles.profile import by_subnet, profile

RESULT = Path("benchmarks/results/transfer.json")
MEASURED = Path("benchmarks/results/device_classes.json")
NOTE10 = Path(__file__).parents[2] / "shared/data/note10"
ROUNDS, RUNS, COUNTS = 2, 30, (3, 5, 7, 10)
SMALL, LARGE = "fashion-mnist-mbv3", "imagenet-mbv3-w1.2"
SUBNETS = {SMALL: 80, LARGE: 20}  # at each resolution
SETTINGS = {
    SMALL: [
        Setting(), Setting(num_threads=2), Setting(batch_size=8), Setting(precision="bfloat16"),
        Setting("onnxruntime"), Setting("onnxruntime", 2), Setting("onnxruntime", batch_size=8),
        Setting("openvino"), Setting("openvino", precision="bfloat16"),
    ],
    LARGE: [
        Setting(), Setting(num_threads=2), Setting("onnxruntime"), Setting("onnxruntime", 2),
    ],
}  # fmt: skip
Row = dict[str, Any]
Milliseconds = Mapping[str, float]
CURVES = {
    f.__name__: f for f in (curves.proportion, curves.line, curves.power_law, curves.monotone)
}


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--measure", action="store_true", help="time all classes again, 40 min")
    parser.add_argument("--tables", type=Path, default=NOTE10, help="block latencies")
    parser.add_argument("--measured", type=Path, default=MEASURED)
    parser.add_argument("--result", type=Path, default=RESULT, help=f"{RESULT} by default")
    given = parser.parse_args(arguments)
    if given.measure:
        given.measured.parent.mkdir(parents=True, exist_ok=True)
        measure(given.measured)
    kept = json.loads(given.measured.read_text())
    spaces = {SMALL: read_manifest(shipped.artifact_folder()).design_space, LARGE: large_space()}
    document: Row = {"hardware": kept["hardware"], "pairs": []}
    for net, space in spaces.items():
        classes = both_rounds(kept, net)
        if net == LARGE and given.tables.is_dir():
            classes["note10"] = [block_sums(given.tables, space, list(classes["torch"][0]))] * 2
        document["pairs"] += pairs(net, space, classes)
    document["summary"] = summary(document["pairs"])
    report(document)
    given.result.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 0


def pairs(net: str, space: DesignSpace, classes: dict[str, list[Milliseconds]]) -> list[Row]:
    """What comes of every ordered pair. A latency is the mean of its rounds; the measurements
    that a prediction is given are of the first."""
    means = {
        name: {s: statistics.mean(ms[s] for ms in rounds) for s in rounds[0]}
        for name, rounds in classes.items()
    }
    rows = []
    for known, new in itertools.permutations(classes, 2):
        study = Study(space, means[known], classes[new][0], means[new])
        rows.append({
            "net": net, "known": known, "new": new,
            "repeated": as_row(Check.of(*([*ms.values()] for ms in classes[new]))),
            "transfer": {count: as_row(study.transfer(count)) for count in COUNTS},
            "curves": {name: as_row(study.curve(f, max(COUNTS))) for name, f in CURVES.items()},
        })  # fmt: skip
    return rows


class Study:
    """One pair: a known class, what was measured of a new one, and what is true of it."""

    def __init__(
        self, space: DesignSpace, known: Milliseconds, measured: Milliseconds, true: Milliseconds
    ) -> None:
        self._space, self._known, self._measured, self._true = space, known, measured, true
        self._picked = pick(space, known, max(COUNTS))

    def transfer(self, count: int) -> Check:
        few = {subnet: self._measured[subnet] for subnet in self._picked[:count]}
        return self._check(transfer(self._space, self._known, few).latency_ms)

    def curve(self, predict: Callable[..., Any], count: int) -> Check:
        picked = self._picked[:count]
        known, measured = (
            np.array([ms[subnet] for subnet in picked]) for ms in (self._known, self._measured)
        )
        asked = np.array(list(self._known.values()))
        predicted = predict(known, measured, asked).tolist()
        return self._check(dict(zip(self._known, predicted, strict=True)))

    def _check(self, predicted: Milliseconds) -> Check:
        held_out = [subnet for subnet in self._true if subnet not in self._picked]
        return Check.of([predicted[s] for s in held_out], [self._true[s] for s in held_out])


def as_row(check: Check) -> Row:
    return {
        "mean_error": round(check.mean_error, 5),
        "worst_error": round(check.worst_error, 5),
        "rank_correlation": round(check.rank_correlation, 5),
    }


def both_rounds(kept: Row, net: str) -> dict[str, list[Milliseconds]]:
    subnets = kept["nets"][net]["subnets"]
    return {
        name: [dict(zip(subnets, ms, strict=True)) for ms in rounds]
        for name, rounds in kept["nets"][net]["classes"].items()
    }


def block_sums(folder: Path, space: DesignSpace, subnets: Sequence[str]) -> Milliseconds:
    files = find_lookup_tables(folder)
    archs = [Architecture.parse(subnet) for subnet in subnets]
    blocks = {r: read_lookup_table(files[r]) for r in {arch.resolution for arch in archs}}
    lookup = LookupTable(space, blocks, {r: str(files[r]) for r in blocks})
    return {arch.id: lookup.latency_ms(arch) for arch in archs}


def measure(path: Path) -> None:
    """Time every class, round by round, and keep what was found after each."""
    document: Row = {"hardware": processor(), "runs": RUNS, "load": [], "nets": {}}
    with TemporaryDirectory() as folder:
        artifacts = {SMALL: artifact.load(shipped.artifact_folder()), LARGE: large(Path(folder))}
    for net, loaded in artifacts.items():
        archs = drawn(loaded.supernet.space, SUBNETS[net])
        classes: dict[str, list[list[float]]] = {named(s): [] for s in SETTINGS[net]}
        document["nets"][net] = {"subnets": [arch.id for arch in archs], "classes": classes}
        plan = by_subnet(loaded.supernet, archs)
        for _, setting in itertools.product(range(ROUNDS), SETTINGS[net]):
            document["load"].append(round(os.getloadavg()[0], 2))
            table, _ = profile(loaded, "here", plan, setting, runs=RUNS)
            found = [float(f"{table.latency_ms[arch.id]:.4g}") for arch in archs]
            classes[named(setting)].append(found)
            print(f"{net}, {named(setting)}: {table.conditions['discarded']}", file=sys.stderr)
            path.write_text(json.dumps(document, separators=(",", ":")) + "\n", encoding="utf-8")


def named(setting: Setting) -> str:
    """After what is not as usual."""
    parts = [setting.engine]
    parts += [f"{setting.num_threads} threads"] * (setting.num_threads > 1)
    parts += [f"batch {setting.batch_size}"] * (setting.batch_size > 1)
    parts += [setting.precision] * (setting.precision != "float32")
    return ", ".join(parts)


def drawn(space: DesignSpace, count: int) -> list[Architecture]:
    """The smallest, the largest and others by lot, so many at each resolution."""
    rng, found = random.Random(0), []
    for resolution in space.resolutions:
        own = [arch for arch in space.enumerate() if arch.resolution == resolution]
        found += [own[0], own[-1], *rng.sample(own[1:-1], count - 2)]
    return found


def large_space() -> DesignSpace:
    """At the resolutions that the public block latencies are of."""
    preset = imagenet_mbv3(width=1.2).model_dump()
    return DesignSpace.model_validate(preset | {"resolutions": (160, 192, 208, 224)})


def large(folder: Path) -> Artifact:
    """The net for ImageNet; how long it takes does not depend on its weights."""
    space, norm = large_space(), PieceAffine()
    shapes = normalization_shapes("piece-affine", space, [])
    norm.load(
        {k: (torch.ones if k.endswith("scale") else torch.zeros)(v) for k, v in shapes.items()}
    )
    preprocessing = Preprocessing(mean=(0.5,) * 3, std=(0.25,) * 3)
    labels = tuple(map(str, range(1000)))
    artifact.save(folder / LARGE, Supernet(space, norm), Description(LARGE, preprocessing, labels))
    return artifact.load(folder / LARGE)


def summary(rows: Sequence[Row]) -> Row:
    """Over all pairs: medians, and how many reach 5 % and a rank correlation of 0.98."""

    def of(found: Sequence[Row]) -> Row:
        return {
            "mean_error": statistics.mean(row["mean_error"] for row in found),
            "within_5_percent": sum(row["mean_error"] <= 0.05 for row in found),
            "rank_correlation": statistics.mean(row["rank_correlation"] for row in found),
            "rank_at_least_0.98": sum(row["rank_correlation"] >= 0.98 for row in found),
            "pairs": len(found),
        }

    found = {f"transfer, {n}": of([row["transfer"][n] for row in rows]) for n in COUNTS}
    found |= {name: of([row["curves"][name] for row in rows]) for name in CURVES}
    return found | {"the same again": of([row["repeated"] for row in rows])}


def report(document: Row) -> None:
    """One row a new class: over all classes that it can be told from."""
    caption = f"{document['hardware']}; medians over the known classes. Over all pairs:"
    for name, found in document["summary"].items():
        caption += (
            f"\n{name}: mean error {found['mean_error']:.1%}, at most 5% in "
            f"{found['within_5_percent']} of {found['pairs']}; rank correlation "
            f"{found['rank_correlation']:.3f}, at least 0.98 in {found['rank_at_least_0.98']}"
        )
    table = Table(title="A device class from ten measured subnets", caption=caption)
    for heading in ("new class", "mean error", "rank", "by a line", "monotone", "the same again"):
        table.add_column(heading, justify="left" if heading == "new class" else "right")
    for (net, new), group in itertools.groupby(
        sorted(document["pairs"], key=lambda row: (row["net"], row["new"])),
        key=lambda row: (row["net"], row["new"]),
    ):
        rows = list(group)
        ten, repeated = [row["transfer"][max(COUNTS)] for row in rows], rows[0]["repeated"]
        table.add_row(
            f"{net}: {new}",
            f"{statistics.median(row['mean_error'] for row in ten):.1%}",
            f"{statistics.median(row['rank_correlation'] for row in ten):.3f}",
            *(
                f"{statistics.median(row['curves'][name]['mean_error'] for row in rows):.1%}"
                for name in ("line", "monotone")
            ),
            f"{repeated['mean_error']:.1%}, {repeated['rank_correlation']:.3f}",
        )
    Console(width=120).print(table)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
