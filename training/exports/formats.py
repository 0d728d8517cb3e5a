"""The formats a subnet can leave in, and what each needs. Imports none of it until asked.

A format is a module that satisfies `Exporter`; adding one is that module and a line here.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast

if TYPE_CHECKING:
    from torch import Tensor, nn

Runtime = Callable[["Tensor"], "Tensor"]
"""Runs an exported file: images [B, C, R, R] → logits [B, classes], for any B from 1."""
Metadata = dict[str, Any]
"""What travels inside the file; the values are what JSON can say."""


class Exporter(Protocol):
    """How a subnet is written in one format, and how that format's own runtime reads it."""

    DETAILS: dict[str, str | int]
    """What a user of the file has to know of the format, such as the opset."""

    def write(self, subnet: nn.Module, example: Tensor, metadata: Metadata, path: Path) -> None:
        """Write `subnet` for inputs like `example` [2, C, R, R], the batch left open.

        The same subnet and metadata give the same bytes. Files beside `path` that belong to
        it bear its name with another suffix.
        """

    def load(self, path: Path) -> Runtime:
        """What runs the file at `path`; reads nothing of it later."""


class Format(NamedTuple):
    """Where an `Exporter` lives, the packages it needs, and the extra that installs them."""

    module: str
    packages: tuple[str, ...] = ()
    extra: str = "export"


FORMATS = {
    "onnx": Format("training.exports.onnx_program", ("onnx", "onnxruntime", "onnxscript")),
    "torch": Format("training.exports.torch_program"),
}


def exporter(name: str) -> Exporter:
    """The exporter of a format. Raises `ValueError` where it is unknown or lacks a package."""
    if name not in FORMATS:
        raise ValueError(f"format {name!r}: expected one of {', '.join(FORMATS)}")
    module, packages, extra = FORMATS[name]
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        raise ValueError(
            f"format {name!r} needs {', '.join(missing)}: pip install 'compofa[{extra}]'"
        )
    return cast(Exporter, importlib.import_module(module))
