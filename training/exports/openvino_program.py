"""OpenVINO IR, run by OpenVINO: `.xml` and, beside it, `.bin` with the weights.

Comes by way of ONNX, which OpenVINO reads by itself: its converter of torch modules would trace
them, and report its use.
"""

from __future__ import annotations

import errno
import io
from pathlib import Path

import openvino as ov  # type: ignore[import-untyped]
import torch
from torch import Tensor, nn

from training.exports import onnx_program
from training.exports.formats import Metadata, Runtime

METADATA = "compofa"
"""The part of a model's `rt_info` that holds its metadata."""
DETAILS: dict[str, str | int] = {"openvino": ov.__version__.partition("-")[0]}
# Not bfloat16, which OpenVINO takes by itself where the CPU has it.
_SETTINGS = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}


def convert(subnet: nn.Module, example: Tensor) -> ov.Model:
    """`input` f32 [?, C, R, R] → `logits` f32 [?, classes]."""
    onnx_model = onnx_program.convert(subnet, example).SerializeToString(deterministic=True)
    return ov.Core().read_model(io.BytesIO(onnx_model))


def quantized(model: ov.Model, images: Tensor) -> ov.Model:
    """Weights as INT8, and activations through `FakeQuantize`, which OpenVINO runs in INT8."""
    from training.exports import openvino_int8

    return openvino_int8.quantized(model, images, "input")


def write(model: ov.Model, metadata: Metadata, path: Path) -> None:
    """Write both files, the weights as they are: `save_model` would halve them."""
    _number(model)
    for key, value in metadata.items():
        model.set_rt_info(onnx_program.text(value), [METADATA, key])
    try:
        ov.serialize(model, path, path.with_suffix(".bin"))
    except RuntimeError as error:  # a stream's, of C++, which does not say why
        raise OSError(errno.EIO, f"OpenVINO cannot write it ({error})", str(path)) from None


def load(path: Path) -> Runtime:
    """The model compiled for the CPU."""
    compiled = ov.Core().compile_model(path, "CPU", _SETTINGS)

    def run(x: Tensor) -> Tensor:
        return torch.from_numpy(compiled(x.numpy())["logits"].copy())

    return run


def _number(model: ov.Model) -> None:
    """Name all operations by kind and place: OpenVINO counts on for as long as a process runs."""
    for place, operation in enumerate(model.get_ordered_ops()):
        operation.set_friendly_name(f"{operation.get_type_name()}_{place}")
