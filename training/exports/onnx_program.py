"""ONNX, run by ONNX Runtime: one self-contained file with its metadata as properties."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from supernet.durable import write_file
from training.exports.formats import Metadata, Runtime

OPSET = 18  # what torch's exporter speaks without a conversion
IR_VERSION = 8  # the one of opset 18, so that runtimes from 2023 on read the file
DETAILS: dict[str, str | int] = {"opset": OPSET}


def convert(subnet: nn.Module, example: Tensor) -> onnx.ModelProto:
    """`input` FP32 [batch, C, R, R] → `logits` FP32 [batch, classes]."""
    program = torch.onnx.export(
        subnet,
        (example,),
        dynamo=True,
        opset_version=OPSET,
        dynamic_shapes=({0: "batch"},),
        input_names=["input"],
        output_names=["logits"],
        verbose=False,
    )
    assert program is not None
    model = program.model_proto
    _forget_the_tracing(model.graph)
    model.ir_version = IR_VERSION
    return model


def quantized(model: onnx.ModelProto, images: Tensor) -> onnx.ModelProto:
    """Convolutions and matrices between `QuantizeLinear` and `DequantizeLinear`, of the same
    opset: any runtime of ONNX reads it."""
    from training.exports import onnx_int8

    return onnx_int8.quantized(model, images, "input")


def write(model: onnx.ModelProto, metadata: Metadata, path: Path) -> None:
    """One file, the weights within."""
    onnx.helper.set_model_props(model, {key: text(value) for key, value in metadata.items()})
    write_file(path, model.SerializeToString(deterministic=True))


def load(path: Path) -> Runtime:
    """An inference session on the CPU."""
    import onnxruntime  # type: ignore[import-untyped]  # not needed where ONNX is only a way-station

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def run(x: Tensor) -> Tensor:
        (logits,) = session.run(["logits"], {"input": x.numpy()})
        return torch.from_numpy(logits)

    return run


def text(value: object) -> str:
    """A property's text: words as they are, all else as JSON."""
    return value if isinstance(value, str) else json.dumps(value)


def _forget_the_tracing(graph: onnx.GraphProto) -> None:
    """Remove what the exporter notes of its own work: stack traces with this machine's paths."""
    parts = (graph, *graph.node, *graph.initializer, *graph.input, *graph.output, *graph.value_info)
    for part in parts:
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
