"""What becomes of a subnet in each export format: difference, size, latency, accuracy in INT8.

    python benchmarks/exports.py [ARTIFACT] [--formats onnx openvino torchserve executorch torch]

The smallest, the middle and the largest subnet of the catalog by MACs, each exported as `compofa
export` does it, in INT8 too where that is had. Prints one table and writes one JSON file; the
artifact is left as it is. Latencies are of one image at batch 1 in the format's own runtime, on one
thread where it can be told so: medians over rounds in which all files run in turn. TorchServe's is
its handler's forward, without the server. A format that lacks a package is left out, and named.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from gateway.exports.key import SUFFIXES
from supernet import artifact, shipped
from supernet.architecture import Architecture
from supernet.artifact import Artifact
from training.exports.comparison import check_inputs
from training.exports.export import Exported, export
from training.exports.formats import FORMATS, INT8_FORMATS, Runtime, exporter, quantizer
from training.exports.int8_export import export_int8
from training.exports.int8_images import Int8Images, open_int8_images
from training.profiles.portable.machine import processor

RESULT = Path("benchmarks/results/exports.json")
RUNS = 20  # of one file in a round
SIZES = ("smallest", "middle", "largest")
Row = dict[str, Any]


@dataclass(frozen=True)
class File:
    """An export of the subnet of this size, and what runs it on an image [1, C, R, R]."""

    size: str
    done: Exported
    run: Runtime
    image: torch.Tensor


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("artifact", type=Path, nargs="?", default=shipped.artifact_folder())
    parser.add_argument("--formats", nargs="+", choices=list(FORMATS), default=list(FORMATS))
    parser.add_argument("--data", type=Path, help="for INT8, as `compofa export` takes it")
    parser.add_argument("--max-accuracy-drop", type=float, default=1.0, help="none by default")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--result", type=Path, default=RESULT, help=f"{RESULT} by default")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    loaded = artifact.load(given.artifact)
    left_out: list[str] = []
    with tempfile.TemporaryDirectory(prefix="compofa-exports-") as folder:
        files = list(exported(loaded, given, Path(folder), left_out))
        rows = list(rows_of(files, latencies_ms(files, given.rounds)))
    document = {
        "hardware": processor(),
        "artifact": loaded.manifest.name,
        "rounds": given.rounds,
        "left_out": left_out,
        "rows": rows,
    }
    report(document)
    given.result.parent.mkdir(parents=True, exist_ok=True)
    given.result.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 0


def exported(
    loaded: Artifact, given: argparse.Namespace, folder: Path, left_out: list[str]
) -> Iterator[File]:
    """Each file there can be; why another cannot is added to `left_out`."""
    formats = [name for name in given.formats if works(exporter, name, left_out)]
    in_int8 = [
        name for name in formats if name in INT8_FORMATS and works(quantizer, name, left_out)
    ]
    images = images_for(loaded, given, left_out) if in_int8 else None
    for size, arch in some_subnets(loaded).items():
        for name in formats:
            out = folder / f"{arch.id}-{name}{SUFFIXES[name]}"
            yield opened(size, loaded, arch, export(loaded, arch, name, out))
        for name in in_int8 if images else ():
            assert images is not None
            out = folder / f"{arch.id}-{name}-int8{SUFFIXES[name]}"
            most = given.max_accuracy_drop
            done, _ = export_int8(loaded, arch, name, out, images, max_accuracy_drop=most)
            yield opened(size, loaded, arch, done)


def works(find: Callable[[str], object], name: str, left_out: list[str]) -> bool:
    try:
        find(name)
    except ValueError as error:
        left_out.append(str(error))
        return False
    return True


def images_for(
    loaded: Artifact, given: argparse.Namespace, left_out: list[str]
) -> Int8Images | None:
    try:
        return open_int8_images(loaded.manifest, given.data, 0)
    except ValueError as error:
        left_out.append(str(error))
        return None


def opened(size: str, loaded: Artifact, arch: Architecture, done: Exported) -> File:
    print(f"{done.path.name}: {done.size_bytes:,} bytes", file=sys.stderr)
    images, _ = check_inputs(loaded.manifest, arch.resolution)
    return File(size, done, exporter(done.format).load(done.path), images[:1])


def some_subnets(loaded: Artifact) -> dict[str, Architecture]:
    """By size, of the catalog, counted in MACs; fewer where there are fewer."""
    entries = sorted(loaded.manifest.catalog.entries, key=lambda entry: entry.macs)
    places = dict.fromkeys((0, len(entries) // 2, len(entries) - 1))
    archs = [Architecture.parse(entries[place].subnet) for place in places]
    return dict(zip(SIZES, archs, strict=False))


@torch.inference_mode()
def latencies_ms(files: list[File], rounds: int) -> list[float]:
    """Of each file, the median over rounds of its median run; the first round warms up."""
    taken: list[list[float]] = [[] for _ in files]
    for _ in range(rounds + 1):
        for file, times in zip(files, taken, strict=True):
            times.append(median(timed_ms(file) for _ in range(RUNS)))
    return [median(times[1:]) for times in taken]


def timed_ms(file: File) -> float:
    began = time.perf_counter()
    file.run(file.image)
    return (time.perf_counter() - began) * 1e3


def rows_of(files: list[File], taken_ms: list[float]) -> Iterator[Row]:
    for file, ms in zip(files, taken_ms, strict=True):
        done = file.done
        yield {
            "size": file.size,
            "subnet": done.subnet,
            "format": done.format,
            "max_difference": done.max_difference,
            "images": done.images,
            "bytes": done.size_bytes,
            "latency_ms": ms,
            **done.details,
        }


def report(document: Row) -> None:
    caption = (
        f"{document['hardware']}, one thread; {document['artifact']}; medians of "
        f"{document['rounds']} rounds; accuracies on the same images"
    )
    table = Table("", "subnet", "format", title="A subnet in each format", caption=caption)
    for heading in ("max difference", "KB", "ms an image", "accuracy", "in float"):
        table.add_column(heading, justify="right")
    before = ""
    for row in document["rows"]:
        if row["size"] != before:
            table.add_section()
        kind = f"{row['format']}, INT8" if row.get("precision") == "int8" else row["format"]
        accuracies = (
            f"{row[key]:.2%}" if key in row else "" for key in ("accuracy", "float_accuracy")
        )
        table.add_row(
            row["size"] if row["size"] != before else "", row["subnet"], kind,
            f"{row['max_difference']:.1e}", f"{row['bytes'] / 1000:,.0f}",
            f"{row['latency_ms']:.2f}", *accuracies,
        )  # fmt: skip
        before = row["size"]
    for reason in document["left_out"]:
        print(f"left out: {reason}", file=sys.stderr)
    Console(width=120).print(table)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
