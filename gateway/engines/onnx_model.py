"""Plain torch modules as an ONNX model: MobileNets' layer by layer, what else there is by torch's
exporter, which takes seconds for each."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence

import torch
from torch import nn

from gateway.engines.backend import Dtype
from supernet.onnx_chain import UnknownLayerError, onnx_chain

_EXAMPLES = {"FP32": torch.float32, "INT64": torch.int64}
_CHATTY = "torch.onnx._internal.exporter._registration"  # names what is not installed
_EXAMPLE = 4  # of an exported input's sizes that are known only when it runs


def to_onnx(modules: Sequence[nn.Module], shape: tuple[int, ...], dtype: Dtype) -> bytes:
    """What `modules` do one after another, of an `input`. -1 in `shape` is what is known only when
    it runs."""
    try:
        return onnx_chain(modules)
    except UnknownLayerError:
        return _exported(nn.Sequential(*modules), shape, dtype)


def _exported(module: nn.Module, shape: tuple[int, ...], dtype: Dtype) -> bytes:
    example = torch.zeros([_EXAMPLE if n == -1 else n for n in shape], dtype=_EXAMPLES[dtype])
    free = {place: torch.export.Dim.DYNAMIC for place, n in enumerate(shape) if n == -1}
    logging.getLogger(_CHATTY).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter's own
        program = torch.onnx.export(
            module.eval(), (example,), dynamo=True, dynamic_shapes=(free,),
            input_names=["input"], verbose=False,
        )  # fmt: skip
    assert program is not None
    model: bytes = program.model_proto.SerializeToString()
    return model
