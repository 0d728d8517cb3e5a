"""Chains of parts as ONNX, written from the plain modules: at once, and for any size of image.

What is made here is timed, or run by the gateway's engine, and has the operators that `compofa
export` gives a subnet. That one goes through torch's exporter, and takes seconds.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from supernet.plain import Shortcut, SqueezeGate

_OPSET, _IR_VERSION = 18, 8  # runtimes from 2023 on read them
_DIMENSIONS = ("batch", "channels", "height", "width")


class UnknownLayerError(ValueError):
    """A module that is not written as ONNX here."""


def onnx_chain(parts: Iterable[nn.Module]) -> bytes:
    """FP32 `input` [batch, channels, height, width] → what the last of the parts gives. Raises
    `UnknownLayerError`."""
    graph = _Graph()
    last = "input"
    for part in parts:
        last = graph.add(part, last)
    ends = [
        helper.make_tensor_value_info("input", TensorProto.FLOAT, _DIMENSIONS),
        helper.make_tensor_value_info(last, TensorProto.FLOAT, None),
    ]
    made = helper.make_graph(graph.nodes, "chain", ends[:1], ends[1:], graph.weights)
    opset = helper.make_opsetid("", _OPSET)
    model = helper.make_model(made, opset_imports=[opset], ir_version=_IR_VERSION)
    return model.SerializeToString(deterministic=True)


class _Graph:
    """Nodes and weights so far. Each module adds its own and tells the name of its output."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def add(self, module: nn.Module, x: str) -> str:
        match module:
            case nn.Sequential():
                for child in module:
                    x = self.add(child, x)
                return x
            case Shortcut():
                return self._node("Add", x, self.add(module.body, x))
            case SqueezeGate():
                return self._node("Mul", x, self.add(module.gate, x))
            case nn.Conv2d():
                return self._conv(module, x)
            case nn.Linear():
                operands = self._weight(module.weight), self._weight(module.bias)
                return self._node("Gemm", x, *operands, transB=1)
            case nn.AdaptiveAvgPool2d():  # to 1 x 1, the only use
                return self._node("ReduceMean", x, self._weight(torch.tensor([2, 3])))
            case nn.ReLU():
                return self._node("Relu", x)
            case nn.ReLU6():
                bounds = (self._weight(torch.tensor(n)) for n in (0.0, 6.0))
                return self._node("Clip", x, *bounds)
            case nn.Hardswish():
                return self._node("HardSwish", x)
            case nn.Hardsigmoid():
                return self._node("HardSigmoid", x, alpha=1 / 6, beta=0.5)
            case nn.Flatten():
                return self._node("Flatten", x)
        layer = type(module).__name__
        raise UnknownLayerError(
            f"layers like {layer} are not written as ONNX; the engine torch has them"
        )

    def _conv(self, conv: nn.Conv2d, x: str) -> str:
        weights = [self._weight(w) for w in (conv.weight, conv.bias) if w is not None]
        attributes: dict[str, Any] = {
            "kernel_shape": conv.kernel_size,
            "strides": conv.stride,
            "pads": (*conv.padding, *conv.padding),
            "group": conv.groups,
        }
        return self._node("Conv", x, *weights, **attributes)

    def _node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        output = f"{operator}{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    def _weight(self, tensor: torch.Tensor) -> str:
        name = f"weight{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(tensor.detach().contiguous().numpy(), name))
        return name
