"""What becomes of a subnet in each export format: difference, size, latency, accuracy in INT8.

    python benchmarks/exports.py [ARTIFACT] [--formats onnx openvino torchserve executorch torch]

The smallest, a middle and the largest subnet of the catalog, each exported as `compofa export`
does it, in INT8 too where that is had. Prints one table and writes one JSON file. Latencies are of
one image at batch 1 in the format's own runtime, on one thread where it can be told so: medians
over rounds in which all files run in turn. TorchServe's is its handler's forward, without the
server.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

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
Row = dict[str, Any]


@dataclass(frozen=True)
class File:
    """An export, and what runs it on an image [1, C, R, R]."""

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
    formats = [name for name in given.formats if is_there(name)]
    with tempfile.TemporaryDirectory(prefix="compofa-exports-") as folder:
        files = list(exported(loaded, formats, given, Path(folder)))
        rows = list(rows_of(files, latencies_ms(files, given.rounds)))
    document = {
        "hardware": processor(),
        "artifact": loaded.manifest.name,
        "rounds": given.rounds,
        "rows": rows,
    }
    report(document)
    given.result.parent.mkdir(parents=True, exist_ok=True)
    given.result.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 0


def is_there(name: str, *, int8: bool = False) -> bool:
    try:
        (quantizer if int8 else exporter)(name)
    except ValueError as error:
        print(f"skipped: {error}", file=sys.stderr)
        return False
    return True


def exported(
    loaded: Artifact, formats: list[str], given: argparse.Namespace, folder: Path
) -> Iterator[File]:
    in_int8 = [n for n in formats if n in INT8_FORMATS and is_there(n, int8=True)]
    images = open_int8_images(loaded.manifest, given.data, 0) if in_int8 else None
    for arch in some_subnets(loaded):
        for name in formats:
            out = folder / f"{arch.id}-{name}{FORMATS[name].suffix}"
            yield opened(loaded, arch, export(loaded, arch, name, out))
        for name in in_int8:
            out = folder / f"{arch.id}-{name}-int8{FORMATS[name].suffix}"
            yield opened(loaded, arch, quantised(loaded, arch, name, out, images, given))


def quantised(
    loaded: Artifact,
    arch: Architecture,
    name: str,
    out: Path,
    images: Int8Images | None,
    given: argparse.Namespace,
) -> Exported:
    assert images is not None
    most = given.max_accuracy_drop
    return export_int8(loaded, arch, name, out, images, max_accuracy_drop=most)[0]


def opened(loaded: Artifact, arch: Architecture, done: Exported) -> File:
    print(f"{done.path.name}: {done.size_bytes:,} bytes", file=sys.stderr)
    images, _ = check_inputs(loaded.manifest, arch.resolution)
    return File(done, exporter(done.format).load(done.path), images[:1])


def some_subnets(loaded: Artifact) -> list[Architecture]:
    """The smallest, the middle and the largest of the catalog, by MACs."""
    entries = sorted(loaded.manifest.catalog.entries, key=lambda entry: entry.macs)
    places = dict.fromkeys((0, len(entries) // 2, len(entries) - 1))
    return [Architecture.parse(entries[place].subnet) for place in places]


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
    table = Table("subnet", "format", title="A subnet in each format", caption=caption)
    for heading in ("max difference", "KB", "ms an image", "accuracy", "in float"):
        table.add_column(heading, justify="right")
    for row in document["rows"]:
        kind = f"{row['format']}, INT8" if row.get("precision") == "int8" else row["format"]
        accuracies = (
            f"{row[key]:.2%}" if key in row else "" for key in ("accuracy", "float_accuracy")
        )
        table.add_row(
            row["subnet"], kind, f"{row['max_difference']:.1e}", f"{row['bytes'] / 1000:,.0f}",
            f"{row['latency_ms']:.2f}", *accuracies,
        )  # fmt: skip
    Console(width=120).print(table)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
