"""ONNX Runtime on the CPU, timed as the script beside exported nets times it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnxruntime  # type: ignore[import-untyped]

from supernet.onnx_chain import onnx_chain
from training.profiles.engines import Setting
from training.profiles.parts import Parts
from training.profiles.portable.machine import processor
from training.profiles.portable.onnx_nets import onnx_timer

if TYPE_CHECKING:
    from training.profiles.portable.plan import Net
    from training.profiles.portable.timing import Timer


class OnnxRuntimeEngine:
    name = f"onnxruntime {onnxruntime.__version__}"

    def __init__(self, parts: Parts, setting: Setting) -> None:
        self._parts, self._setting = parts, setting
        self.processor = processor()

    def timer(self, net: Net) -> Timer:
        shape = self._parts.input_shape(net, self._setting.batch_size)
        model = onnx_chain(self._parts.chain(net[1]))
        return onnx_timer(model, shape, self._setting.num_threads)


open_engine = OnnxRuntimeEngine
