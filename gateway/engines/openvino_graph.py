"""Plain torch modules as an OpenVINO model, operation by operation.

OpenVINO's own converter traces a module: half a second for each of many pieces, and it needs an
example input. Those made by `supernet.extract` are a handful of operations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import openvino as ov  # type: ignore[import-untyped]
from numpy.typing import NDArray
from openvino import opset13 as ops
from torch import Tensor, nn

from supernet.extract import Shortcut, SqueezeGate

Node = Any
"""OpenVINO's nodes have no types."""


def to_model(modules: Iterable[nn.Module], shape: list[int], name: str) -> ov.Model:
    """What `modules` do one after another. `shape` is that of the input [B, C, H, W], -1 for what
    is known only when it runs. Raises `TypeError` for a module that it does not know."""
    parameter = ops.parameter(shape, np.float32, name="input")
    node: Node = parameter
    for module in modules:
        node = _add(module, node)
    result = ops.result(node, name="output")
    return ov.Model([result], [parameter], name)


def _add(module: nn.Module, x: Node) -> Node:
    for kind, translate in _TRANSLATIONS.items():
        if isinstance(module, kind):
            return translate(module, x)
    raise TypeError(f"no translation of {type(module).__name__}")


def _sequential(module: Any, x: Node) -> Node:
    for child in module:
        x = _add(child, x)
    return x


def _convolution(module: Any, x: Node) -> Node:
    weight = _values(module.weight)
    moves = (list(module.stride), list(module.padding), list(module.padding), [1, 1])
    if module.groups == 1:
        y = ops.convolution(x, ops.constant(weight), *moves)
    else:
        out_channels, inputs, height, width = weight.shape
        groups = module.groups
        grouped = weight.reshape(groups, out_channels // groups, inputs, height, width)
        y = ops.group_convolution(x, ops.constant(grouped), *moves)
    if module.bias is None:
        return y
    return ops.add(y, ops.constant(_values(module.bias).reshape(1, -1, 1, 1)))


def _linear(module: Any, x: Node) -> Node:
    weight = ops.constant(_values(module.weight))
    y = ops.matmul(x, weight, transpose_a=False, transpose_b=True)
    return ops.add(y, ops.constant(_values(module.bias).reshape(1, -1)))


def _pool(_module: Any, x: Node) -> Node:
    return ops.reduce_mean(x, ops.constant(np.array([2, 3], np.int64)), keep_dims=True)


def _flatten(_module: Any, x: Node) -> Node:
    """[B, C, 1, 1] → [B, C]."""
    return ops.squeeze(x, ops.constant(np.array([2, 3], np.int64)))


def _hardsigmoid(_module: Any, x: Node) -> Node:
    return ops.hsigmoid(x)


def _values(tensor: Tensor) -> NDArray[np.float32]:
    values: NDArray[np.float32] = tensor.detach().cpu().contiguous().numpy()
    return values


_TRANSLATIONS: dict[type[nn.Module], Callable[[Any, Node], Node]] = {
    nn.Sequential: _sequential,
    nn.Conv2d: _convolution,
    nn.Linear: _linear,
    nn.AdaptiveAvgPool2d: _pool,
    nn.Flatten: _flatten,
    nn.ReLU: lambda _, x: ops.relu(x),
    nn.Hardswish: lambda _, x: ops.hswish(x),
    nn.Hardsigmoid: _hardsigmoid,
    nn.Identity: lambda _, x: x,
    Shortcut: lambda module, x: ops.add(x, _add(module.body, x)),
    SqueezeGate: lambda module, x: ops.multiply(x, _add(module.gate, x)),
}
