"""OpenVINO on the CPU. Its precision is asked for by name: it would take bfloat16 by itself."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import openvino  # type: ignore[import-untyped]

from supernet.onnx_chain import onnx_chain
from training.profiles.engines import Setting
from training.profiles.parts import Parts
from training.profiles.portable.machine import processor

if TYPE_CHECKING:
    from training.profiles.portable.plan import Net
    from training.profiles.portable.timing import Timer

_PRECISIONS = {"float32": "f32", "bfloat16": "bf16"}


class OpenVinoEngine:
    name = f"openvino {openvino.__version__.partition('-')[0]}"

    def __init__(self, parts: Parts, setting: Setting) -> None:
        self._parts, self._setting = parts, setting
        self._core = openvino.Core()
        self._options = {
            "INFERENCE_PRECISION_HINT": _PRECISIONS[setting.precision],
            "INFERENCE_NUM_THREADS": setting.num_threads,
            "PERFORMANCE_HINT": "LATENCY",
            "ENABLE_CPU_PINNING": False,  # the process is kept on its CPUs already
        }
        self.processor = processor()

    def timer(self, net: Net) -> Timer:
        model = self._core.read_model(onnx_chain(self._parts.chain(net[1])))
        example = self._parts.example(net, self._setting.batch_size)
        model.reshape(list(example.shape))
        request = self._core.compile_model(model, "CPU", self._options).create_infer_request()
        request.set_input_tensor(openvino.Tensor(example.numpy()))

        def run() -> float:
            start = time.perf_counter()
            request.infer()
            return (time.perf_counter() - start) * 1e3

        return run


open_engine = OpenVinoEngine
