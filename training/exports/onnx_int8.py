"""INT8 after training for ONNX, by ONNX Runtime. Knows nothing of what it costs.

Not by NNCF, whose files ONNX Runtime does not fuse: their biases stay in float, so that most
convolutions would run in float between conversions.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import onnx
from onnxruntime.quantization import (  # type: ignore[import-untyped]
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from torch import Tensor

_AT_A_TIME = 10  # images whose activations are all in memory at once
_PERCENTILE = 99.99  # of an activation's values within its range: outliers are clipped


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    """Images a few at a time; what ONNX Runtime calls a range is some of these batches."""

    def __init__(self, images: Tensor, input_name: str) -> None:
        starts = range(0, len(images), _AT_A_TIME)
        self._batches = [{input_name: images[i : i + _AT_A_TIME].numpy()} for i in starts]
        self._left: Iterator[dict[str, Any]] = iter(self._batches)

    def __len__(self) -> int:
        return len(self._batches)

    def set_range(self, start_index: int, end_index: int) -> None:
        self._left = iter(self._batches[start_index:end_index])

    def get_next(self) -> dict[str, Any] | None:
        return next(self._left, None)


def quantized(model: onnx.ModelProto, images: Tensor, input_name: str) -> onnx.ModelProto:
    """`model` with INT8 weights, one scale a channel, and UINT8 activations.

    The ranges of activations come from `images` [N, C, R, R].
    """
    options = {"CalibPercentile": _PERCENTILE, "CalibStridedMinMax": 1}  # batches a range
    with tempfile.TemporaryDirectory(prefix="compofa-int8-") as name:
        path = Path(name) / "int8.onnx"
        with redirect_stdout(StringIO()):  # what it is doing
            quantize_static(
                model,
                path,
                _Reader(images, input_name),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                weight_type=QuantType.QInt8,
                activation_type=QuantType.QUInt8,
                calibrate_method=CalibrationMethod.Percentile,
                extra_options=options,
            )
        return onnx.load(path)
