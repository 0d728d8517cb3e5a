"""What every rival server runs: one subnet from a file, values in and out as bytes.

`*.onnx` is run by ONNX Runtime, `*.xml` by OpenVINO with the gateway's settings, `*.pt2` by torch
(compiled by AOTInductor), each on one core: every server has a worker a core.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

FILE = "COMPOFA_BENCHMARK_SUBNET"
"""The environment variable with its path. Its name begins with the images' size, as in 224.xml."""


class SubnetFile:
    """Takes images [3, S, S] of little-endian float32, gives logits the same way."""

    def __init__(self) -> None:
        path = Path(os.environ[FILE])
        size = int(path.stem)
        self._shape = (-1, 3, size, size)
        self._run = _RUNTIMES[path.suffix](path)

    def __call__(self, images: list[bytes]) -> list[bytes]:
        joined = images[0] if len(images) == 1 else b"".join(images)
        logits = self._run(np.frombuffer(joined, "<f4").reshape(self._shape))
        return [row.tobytes() for row in logits]


def _onnxruntime(path: Path) -> Callable[[Array], Array]:
    import onnxruntime  # type: ignore[import-untyped]

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def run(x: Array) -> Array:
        values: Array = session.run(None, {"input": x})[0]
        return values

    return run


def _openvino(path: Path) -> Callable[[Array], Array]:
    import openvino as ov  # type: ignore[import-untyped]

    settings = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY"}
    settings |= {"INFERENCE_PRECISION_HINT": "f32", "ENABLE_CPU_PINNING": False}
    request = ov.Core().compile_model(str(path), "CPU", settings).create_infer_request()

    def run(x: Array) -> Array:
        request.set_input_tensor(ov.Tensor(x))
        request.infer()
        values: Array = request.get_output_tensor().data
        return values

    return run


def _torch(path: Path) -> Callable[[Array], Array]:
    import torch

    torch.set_num_threads(1)
    compiled: Any = torch._inductor.aoti_load_package(str(path))

    def run(x: Array) -> Array:
        with torch.inference_mode():
            values: Array = compiled(torch.from_numpy(x.copy())).numpy()
        return values

    return run


_RUNTIMES = {".onnx": _onnxruntime, ".xml": _openvino, ".pt2": _torch}
