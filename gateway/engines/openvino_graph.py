"""Plain torch modules as an OpenVINO model, operation by operation.

OpenVINO's own converter traces a module: half a second for each of many pieces, and it needs an
example input. MobileNets' are a handful of operations; what else there may be is traced.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import openvino as ov  # type: ignore[import-untyped]
import torch
from numpy.typing import NDArray
from openvino import opset13 as ops
from torch import Tensor, nn

from gateway.engines.backend import Dtype
from supernet.plain import Shortcut, SqueezeGate

Node = Any
"""OpenVINO's nodes have no types."""
_ELEMENTS = {"FP32": np.float32, "INT64": np.int64}
_EXAMPLES = {"FP32": torch.float32, "INT64": torch.int64}
_EXAMPLE = 4  # of a traced input's sizes that are known only when it runs


class _UnknownModuleError(TypeError):
    """A module that is translated by tracing only."""


def to_model(
    modules: Iterable[nn.Module], shape: list[int], name: str, dtype: Dtype = "FP32"
) -> ov.Model:
    """What `modules` do one after another. `shape` is that of the input, -1 for what is known only
    when it runs. Where one of them is none of those known here, OpenVINO traces all."""
    modules = list(modules)
    parameter = ops.parameter(shape, _ELEMENTS[dtype], name="input")
    node: Node = parameter
    try:
        for module in modules:
            node = _add(module, node)
    except _UnknownModuleError:
        return _traced(nn.Sequential(*modules), shape, dtype)
    result = ops.result(node, name="output")
    return ov.Model([result], [parameter], name)


def _traced(module: nn.Module, shape: list[int], dtype: Dtype) -> ov.Model:
    example = torch.zeros([_EXAMPLE if n == -1 else n for n in shape], dtype=_EXAMPLES[dtype])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the tracer's own
        return ov.convert_model(module, example_input=example, input=[ov.PartialShape(shape)])


def _add(module: nn.Module, x: Node) -> Node:
    for kind, translate in _TRANSLATIONS.items():
        if isinstance(module, kind):
            return translate(module, x)
    raise _UnknownModuleError


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
    nn.ReLU6: lambda _, x: ops.clamp(x, 0.0, 6.0),
    nn.Hardswish: lambda _, x: ops.hswish(x),
    nn.Hardsigmoid: _hardsigmoid,
    nn.Identity: lambda _, x: x,
    Shortcut: lambda module, x: ops.add(x, _add(module.body, x)),
    SqueezeGate: lambda module, x: ops.multiply(x, _add(module.gate, x)),
}
