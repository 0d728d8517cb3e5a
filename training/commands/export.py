"""`compofa export`: a subnet as a file that its device's runtime reads."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from supernet.architecture import Architecture
from supernet.commandline import Parser, warn
from training.commands.options import add_data, fraction, positive
from training.exports.formats import FORMATS, INT8_FORMATS, exporter, quantizer

if TYPE_CHECKING:
    from training.exports.export import Exported

_ALL = "all"
_OF_INT8 = ("data", "calibration_images", "max_accuracy_drop", "record")


def add_parsers(commands: argparse._SubParsersAction[Parser]) -> None:
    """Add `export` to the commands."""
    parser = commands.add_parser(
        "export",
        help="write a subnet for another runtime",
        description="Writes one subnet as a file of its own, runs that file in its own runtime, "
        "and compares the logits with the subnet's on images at batch 1 and 8. Only a file that "
        "agrees within 1e-4, or in INT8 one that is accurate enough, is put in place.",
    )
    parser.add_argument("artifact", type=Path)
    parser.add_argument(
        "--subnet",
        required=True,
        metavar="ID",
        help="such as d2-3-4-2-3@28; 'all' with the format torchserve is the whole family",
    )
    parser.add_argument("--format", required=True, choices=list(FORMATS))
    parser.add_argument("--out", required=True, type=Path, metavar="PATH", help="the file to write")
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    _add_int8(parser)
    parser.set_defaults(command=_export)


def _add_int8(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "INT8",
        "Quantised after training, and measured on the validation split beside the subnet itself. "
        "Both accuracies go into the file, and into the catalog of an artifact of your own.",
    )
    group.add_argument("--int8", action="store_true", help=f"with {' or '.join(INT8_FORMATS)}")
    add_data(group)
    group.add_argument(
        "--calibration-images", type=positive, metavar="N", help="of the training split; 300"
    )
    group.add_argument(
        "--max-accuracy-drop", type=fraction, metavar="X", help="refuse what loses more; 0.01"
    )
    group.add_argument(
        "--record",
        action=argparse.BooleanOptionalAction,
        help="put both accuracies into the artifact's catalog; by default, but not into the net's "
        "that ships",
    )


def _export(arguments: argparse.Namespace) -> int:
    _check_options(arguments)
    # A package that is missing is told before torch is imported.
    (quantizer if arguments.int8 else exporter)(arguments.format)
    if arguments.subnet == _ALL:
        done = _family(arguments)
    elif arguments.int8:
        done = _in_int8(arguments, Architecture.parse(arguments.subnet))
    else:
        arch = Architecture.parse(arguments.subnet)

        from supernet import artifact
        from training.exports.export import export

        done = export(artifact.load(arguments.artifact), arch, arguments.format, arguments.out)
    print(_as_json(done) if arguments.json else _as_line(done))
    return 0


def _check_options(arguments: argparse.Namespace) -> None:
    given = (name for name in _OF_INT8 if getattr(arguments, name) is not None)
    if not arguments.int8 and (name := next(given, None)):
        raise ValueError(f"--{name.replace('_', '-')}: only with --int8")
    if arguments.subnet == _ALL and (arguments.format != "torchserve" or arguments.int8):
        kind = f"{arguments.format} in INT8" if arguments.int8 else arguments.format
        raise ValueError(f"--subnet all: expected --format torchserve, got {kind}")


def _family(arguments: argparse.Namespace) -> Exported:
    from supernet import artifact
    from training.exports.family import export_family

    if arguments.family is None:
        raise ValueError(
            "--subnet all: what chooses among subnets is not here; use 'compofa export'"
        )
    loaded = artifact.load(arguments.artifact)
    return export_family(loaded, arguments.artifact, arguments.family, arguments.out)


def _in_int8(arguments: argparse.Namespace, arch: Architecture) -> Exported:
    from supernet import artifact
    from training.exports import int8_export
    from training.exports.int8_images import CALIBRATION_IMAGES, open_int8_images

    loaded = artifact.load(arguments.artifact)
    loaded.supernet.space.check(arch)
    drop = arguments.max_accuracy_drop
    done, measured = int8_export.export_int8(
        loaded,
        arch,
        arguments.format,
        arguments.out,
        open_int8_images(loaded.manifest, arguments.data, arguments.workers),
        calibration_images=arguments.calibration_images or CALIBRATION_IMAGES,
        max_accuracy_drop=int8_export.MAX_ACCURACY_DROP if drop is None else drop,
    )
    told = int8_export.keep(arguments.artifact, arch.id, measured, wanted=arguments.record)
    if told is not None:  # the file is there all the same
        warn(told)
    return done


def _as_line(done: Exported) -> str:
    details = "".join(f", {key.replace('_', ' ')} {done.details[key]}" for key in done.details)
    return (
        f"{done.path}: {done.format} of {done.subnet}, {done.size_bytes:,} bytes, max difference "
        f"{done.max_difference:.2g} on {done.images}{details}"
    )


def _as_json(done: Exported) -> str:
    return json.dumps(
        {
            "path": str(done.path),
            "format": done.format,
            "subnet": done.subnet,
            "bytes": done.size_bytes,
            "max_difference": done.max_difference,
            "images": done.images,
            **done.details,
        }
    )
