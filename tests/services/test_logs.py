"""What a real gateway writes of its requests, and how that is changed while it runs."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from protos.compofa.v1 import gateway_pb2
from protos.inference import service_pb2 as pb
from protos.inference.service_pb2_grpc import GRPCInferenceServiceStub
from tests.redis_server import wait_until

if TYPE_CHECKING:
    from tests.services.conftest import Connect, GatewayProcess, MakeTensor, Start

Line = dict[str, object]
WITHIN_S = 5.0


def of(gateway: GatewayProcess, event: str) -> list[Line]:
    return [line for line in gateway.log() if line["event"] == event]


def levels(gateway: GatewayProcess) -> list[object]:
    """What it was told to write from, one after the other."""
    return [line["now"] for line in of(gateway, "log level")]


def test_a_request_can_be_followed_and_the_level_changed(
    start: Start, connect: Connect, tensor: MakeTensor
) -> None:
    gateway = start("--workers", "1")
    stub = connect(gateway.target).stub
    request = gateway_pb2.InferRequest(device_class="alpha", tensor=tensor(), id="m1")

    def infer(name: str) -> gateway_pb2.InferResponse:
        return stub.Infer(request, timeout=30, metadata=(("x-request-id", name),))

    answer = infer("first")
    wait_until(lambda: of(gateway, "request"), WITHIN_S)
    (line,) = of(gateway, "request")
    assert (line["request_id"], line["message_id"]) == ("first", "m1")
    assert (line["device_class"], line["subnet"], line["code"]) == ("alpha", answer.subnet, "OK")
    for name, value in (("queue_ms", answer.queue_ms), ("compute_ms", answer.compute_ms)):
        assert line[name] == round(value, 3)
    assert isinstance(line["ms"], float)
    assert line["ms"] >= answer.queue_ms + answer.compute_ms
    assert of(gateway, "batch") == []

    gateway.process.send_signal(signal.SIGUSR1)
    wait_until(lambda: levels(gateway) == ["debug"], WITHIN_S)
    assert infer("second").subnet == answer.subnet
    wait_until(lambda: len(of(gateway, "request")) == 2, WITHIN_S)
    (batch,) = of(gateway, "batch")
    assert (batch["subnet"], batch["images"], batch["level"]) == (answer.subnet, 1, "debug")

    for step in (1, 2):
        gateway.process.send_signal(signal.SIGUSR2)
        wait_until(lambda n=step: len(levels(gateway)) == 1 + n, WITHIN_S)
    assert levels(gateway) == ["debug", "info", "warning"]
    infer("third")
    late = gateway_pb2.InferRequest(device_class="alpha", tensor=tensor(), deadline_ms=1e-3)
    with pytest.raises(grpc.RpcError) as caught:
        stub.Infer(late, timeout=30)
    error: Any = caught.value  # also a call, which the stubs do not say
    name = dict(error.trailing_metadata())["x-request-id"]
    wait_until(lambda: len(of(gateway, "request")) == 3, WITHIN_S)
    last = of(gateway, "request")[-1]
    assert (last["level"], last["code"]) == ("warning", "DEADLINE_EXCEEDED")
    assert last["request_id"] == name, "what its caller was told"


def test_a_stream_s_messages_are_told_apart(
    start: Start, connect: Connect, tensor: MakeTensor
) -> None:
    gateway = start("--workers", "1", "--log-level", "info")

    def requests() -> Iterator[gateway_pb2.InferRequest]:
        for n in range(3):
            yield gateway_pb2.InferRequest(device_class="alpha", tensor=tensor(), id=f"m{n}")

    client = connect(gateway.target)
    stub = client.stub
    assert len(list(stub.InferStream(requests(), metadata=(("x-request-id", "s"),)))) == 3
    wait_until(lambda: len(of(gateway, "request")) == 3, WITHIN_S)
    named = {(line["request_id"], line["message_id"]) for line in of(gateway, "request")}
    assert named == {("s", "m0"), ("s", "m1"), ("s", "m2")}

    sent = tensor()
    triton = pb.ModelInferRequest(model_name="tiny", id="one", raw_input_contents=[sent.raw])
    triton.inputs.add(name="input", datatype="FP32", shape=sent.shape)
    triton.parameters["device_class"].string_param = "alpha"
    GRPCInferenceServiceStub(client.channel).ModelInfer(triton, timeout=30)
    wait_until(lambda: len(of(gateway, "request")) == 4, WITHIN_S)
    assert of(gateway, "request")[-1]["message_id"] == "one"
