"""Messages that no client of good will sends, for every method that a gateway has.

Three kinds: any bytes; what a good client sends, damaged on its way; and messages that are well
formed, with values that nobody expects.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from hypothesis import strategies as st
from PIL import Image

from protos.compofa.v1 import gateway_pb2
from protos.inference import service_pb2
from protos.torchserve import inference_pb2

F = FieldDescriptor
Strategy = st.SearchStrategy
_FILES = (gateway_pb2, service_pb2, inference_pb2, health_pb2, reflection_pb2)
_DEEPEST = 3
_NUMBERS = (float("nan"), float("inf"), float("-inf"), -0.0, -1.0, 1e-300, 1e308, 0.5, 2.0)
_TEXTS = ("", "\0", "x" * 5000, "🦀", "../etc/passwd", "%s%n", "nan", "1e999", "-1", "FP32",
          "INT64", "BYTES", "input", "logits", "data", "onnx", "torch", "\u202e", "\n")  # fmt: skip
_INTEGERS = (0, 1, -1, 2**31 - 1, -(2**31), 2**32 - 1, 2**63 - 1, -(2**63), 2**64 - 1)
_BITS = {
    F.TYPE_INT32: (32, True), F.TYPE_SINT32: (32, True), F.TYPE_SFIXED32: (32, True),
    F.TYPE_INT64: (64, True), F.TYPE_SINT64: (64, True), F.TYPE_SFIXED64: (64, True),
    F.TYPE_UINT32: (32, False), F.TYPE_FIXED32: (32, False),
    F.TYPE_UINT64: (64, False), F.TYPE_FIXED64: (64, False), F.TYPE_ENUM: (32, True),
}  # fmt: skip


@dataclass(frozen=True)
class Served:
    """What good requests to a gateway name: its model, a device class and the form of a row."""

    model: str
    device_class: str
    row: tuple[int, ...]

    @cached_property
    def good(self) -> Mapping[str, tuple[Message, ...]]:
        """Requests that are answered, by the full name of their type."""
        kinds = (*self._native(), *self._others())
        names = {kind.DESCRIPTOR.full_name for kind in kinds}
        return {n: tuple(k for k in kinds if k.DESCRIPTOR.full_name == n) for n in names}

    @cached_property
    def raw(self) -> bytes:
        return np.zeros((1, *self.row), "<f4").tobytes()

    def _native(self) -> Iterator[Message]:
        name = self.device_class
        tensor = gateway_pb2.Tensor(name="input", dtype="FP32", shape=(1, *self.row), raw=self.raw)
        yield gateway_pb2.InferRequest(device_class=name, tensor=tensor, id="1")
        for image_format in ("PNG", "JPEG", "WEBP"):
            yield gateway_pb2.InferRequest(device_class=name, image=_image(image_format))
        yield gateway_pb2.SelectSubnetRequest(device_class=name, min_accuracy=0.0)
        yield gateway_pb2.FetchSubnetRequest(device_class=name, format="torch")
        yield gateway_pb2.ListDeviceClassesRequest()
        yield gateway_pb2.ReportLatencyRequest(device_class=name, subnet="d2-2@12", latency_ms=1.0)

    def _others(self) -> Iterator[Message]:
        model = service_pb2.ModelInferRequest(model_name=self.model)
        model.inputs.add(name="input", datatype="FP32", shape=(1, *self.row))
        model.raw_input_contents.append(self.raw)
        model.parameters["device_class"].string_param = self.device_class
        yield model
        for asked in ("ModelReadyRequest", "ModelMetadataRequest", "ModelConfigRequest",
                      "ModelStatisticsRequest"):  # fmt: skip
            yield getattr(service_pb2, asked)(name=self.model)
        named = {"device_class": self.device_class.encode(), "data": _image("PNG")}
        yield inference_pb2.PredictionsRequest(model_name=self.model, input=named)
        yield health_pb2.HealthCheckRequest(service="compofa.v1.SubnetGateway")
        reflected = reflection_pb2.ServerReflectionRequest
        yield reflected(list_services="")
        yield reflected(file_containing_symbol="compofa.v1.SubnetGateway")
        extension = reflection_pb2.ExtensionRequest(
            containing_type="google.protobuf.FieldOptions", extension_number=1
        )
        yield reflected(file_containing_extension=extension)


def methods() -> list[MethodDescriptor]:
    """Every method of every service."""
    services = [s for file in _FILES for s in file.DESCRIPTOR.services_by_name.values()]
    return [method for service in services for method in service.methods]


def path_of(method: MethodDescriptor) -> str:
    """What it is called on the wire."""
    return f"/{method.containing_service.full_name}/{method.name}"


def messages(method: MethodDescriptor, served: Served) -> Strategy[bytes]:
    """Requests of a method, on the wire."""
    kind: Descriptor = method.input_type
    good = [m.SerializeToString() for m in served.good.get(kind.full_name, ())] or [b""]
    odd = _odd(kind).map(lambda message: message.SerializeToString())
    # One message after another on the wire is one with the fields of both.
    spoilt = st.tuples(st.sampled_from(good), odd).map(b"".join)
    return st.one_of(st.binary(max_size=64), _damaged(good), odd, spoilt)


def _image(image_format: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.zeros((20, 20), np.uint8)).save(file, image_format)
    return file.getvalue()


@st.composite
def _damaged(draw: st.DrawFn, good: list[bytes]) -> bytes:
    """Cut, with bytes changed, put in, left out or repeated."""
    data = bytearray(draw(st.sampled_from(good)))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data)))
        end = at + draw(st.integers(0, 16))
        match draw(st.integers(0, 3)):
            case 0:
                data = data[:at]
            case 1:
                data[at:end] = draw(st.binary(max_size=8))
            case 2:
                del data[at:end]
            case _:
                data[at:at] = data[at:end] * draw(st.integers(1, 3))
    return bytes(data)


def _odd(kind: Descriptor, depth: int = 0) -> Strategy[Message]:
    """A message with some of its fields set, to values at the edge of what they can hold."""
    make = message_factory.GetMessageClass(kind)
    fields = [field for field in kind.fields if depth < _DEEPEST or field.message_type is None]
    if not fields:
        return st.builds(make)
    few = st.lists(st.sampled_from(fields), max_size=3, unique_by=lambda field: field.number)
    return few.flatmap(lambda chosen: _with(make, chosen, depth))


def _with(make: Any, fields: list[FieldDescriptor], depth: int) -> Strategy[Message]:
    values = {field.name: _values(field, depth) for field in fields}
    return st.fixed_dictionaries(values).map(lambda given: make(**given))


def _values(field: FieldDescriptor, depth: int) -> Strategy[Any]:
    entry = field.message_type
    if entry is not None and entry.GetOptions().map_entry:
        key, value = entry.fields_by_name["key"], entry.fields_by_name["value"]
        return st.dictionaries(_value(key, depth), _value(value, depth), max_size=3)
    one = _value(field, depth)
    return st.lists(one, max_size=4) if field.is_repeated else one


def _value(field: FieldDescriptor, depth: int) -> Strategy[Any]:
    if field.message_type is not None:
        return _odd(field.message_type, depth + 1)
    if field.type in _BITS:
        bits, signed = _BITS[field.type]
        least, most = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
        edges = [number for number in _INTEGERS if least <= number <= most]
        return st.sampled_from(edges) | st.integers(least, most)
    if field.type in (F.TYPE_DOUBLE, F.TYPE_FLOAT):
        return st.sampled_from(_NUMBERS) | st.floats(
            width=64 if field.type == F.TYPE_DOUBLE else 32
        )
    if field.type == F.TYPE_BOOL:
        return st.booleans()
    if field.type == F.TYPE_BYTES:
        return st.binary(max_size=64)
    return st.sampled_from(_TEXTS) | st.text(max_size=16)
