"""The formats a subnet can leave in, and what each needs. Imports none of it until asked.

A format is a module that satisfies `Exporter`; adding one is that module and a line here.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast

if TYPE_CHECKING:
    from torch import Tensor, nn

Runtime = Callable[["Tensor"], "Tensor"]
"""Runs an exported file: images [B, C, R, R] → logits [B, classes], for any B from 1."""
Metadata = dict[str, Any]
"""What travels inside the file; the values are what JSON can say."""
Model = Any
"""A subnet as a format's own library holds it, not yet in a file."""


class Exporter(Protocol):
    """How a subnet is written in one format, and how that format's own runtime reads it."""

    DETAILS: dict[str, str | int]
    """What a user of the file has to know of the format, such as the opset."""

    def convert(self, subnet: nn.Module, example: Tensor) -> Model:
        """`subnet` for inputs like `example` [2, C, R, R], the batch left open."""

    def write(self, model: Model, metadata: Metadata, path: Path) -> None:
        """Write what `convert` or `quantized` made.

        The same subnet and metadata give the same bytes. Files beside `path` that belong to
        it bear its name with another suffix.
        """

    def load(self, path: Path) -> Runtime:
        """What runs the file at `path`; reads nothing of it later."""


class Quantizer(Exporter, Protocol):
    """An `Exporter` whose models can be made INT8."""

    def quantized(self, model: Model, images: Tensor) -> Model:
        """`model` in INT8, its ranges from `images` [N, C, R, R]. The one given may change."""


class Format(NamedTuple):
    """Where an `Exporter` lives, the packages it needs, and the extras that install them.

    `suffix` is what its files have to be called, where their runtime insists; `beside` that of a
    second file which the runtime looks for there. `int8` is there where it is a `Quantizer` too,
    and lists the packages that this takes besides.
    """

    module: str
    packages: tuple[str, ...] = ()
    extra: str = "export"
    suffix: str = ""
    beside: str = ""
    int8: tuple[str, ...] | None = None


FORMATS = {
    "onnx": Format("training.exports.onnx_program", ("onnx", "onnxruntime", "onnxscript"), int8=()),
    "openvino": Format(
        "training.exports.openvino_program",
        ("openvino", "onnx", "onnxscript"),
        extra="export,openvino",
        suffix=".xml",
        beside=".bin",
        int8=("nncf",),
    ),
    "torchserve": Format("training.exports.torchserve_archive", suffix=".mar"),
    "executorch": Format(
        "training.exports.executorch_program", ("executorch",), extra="executorch"
    ),
    "torch": Format("training.exports.torch_program"),
}
INT8_FORMATS = tuple(name for name, described in FORMATS.items() if described.int8 is not None)


def exporter(name: str) -> Exporter:
    """The exporter of a format. Raises `ValueError` where it is unknown or lacks a package."""
    if name not in FORMATS:
        raise ValueError(f"format {name!r}: expected one of {', '.join(FORMATS)}")
    described = FORMATS[name]
    _check_installed(f"format {name!r}", described.packages, described.extra)
    return cast(Exporter, importlib.import_module(described.module))


def quantizer(name: str) -> Quantizer:
    """The exporter of a format, for INT8. Raises `ValueError` as `exporter` does, and where the
    format has no INT8 here."""
    found, packages = exporter(name), FORMATS[name].int8
    if packages is None:
        raise ValueError(f"INT8: expected one of the formats {', '.join(INT8_FORMATS)}, got {name}")
    _check_installed(f"INT8 for {name!r}", packages, "quantize")
    return cast(Quantizer, found)


def check_name(name: str, out: Path) -> None:
    """Raise `ValueError` where a format's runtime would not take a file called `out`."""
    described = FORMATS[name]
    if described.suffix and out.suffix != described.suffix:
        expected = f"expected a name that ends in {described.suffix} for the format {name!r}"
        raise ValueError(f"--out {out}: {expected}")
    if described.beside and out.is_symlink():
        raise ValueError(
            f"--out {out}: expected no link: {described.beside} is looked for beside it"
        )


def _check_installed(what: str, packages: Sequence[str], extra: str) -> None:
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        raise ValueError(f"{what} needs {', '.join(missing)}: pip install 'compofa[{extra}]'")
