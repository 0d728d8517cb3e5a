"""Clients of the Open Inference Protocol: ours, and Triton's as it is."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest
from grpc import StatusCode

from protos.compofa.v1 import gateway_pb2
from protos.inference import service_pb2 as pb
from protos.inference.service_pb2_grpc import GRPCInferenceServiceStub
from supernet.catalog import Catalog
from supernet.manifest import read_manifest

if TYPE_CHECKING:
    from tests.services.conftest import Client, GatewayProcess, MakeTensor, Start

RAW = np.random.default_rng(0).standard_normal((2, 1, 16, 16), np.float32).astype("<f4")
SHAPE = RAW.shape
TRITON = Path(__file__).with_name("triton_client.py")


@pytest.fixture
def stub(client: Client) -> GRPCInferenceServiceStub:
    return GRPCInferenceServiceStub(client.channel)


@pytest.fixture(scope="module")
def name(artifact_folder: Path) -> str:
    return read_manifest(artifact_folder).name


def request(name: str, **parameters: object) -> pb.ModelInferRequest:
    """Two rows, raw."""
    made = pb.ModelInferRequest(model_name=name, id="one")
    made.inputs.add(name="input", datatype="FP32", shape=SHAPE)
    made.raw_input_contents.append(RAW.tobytes())
    for key, value in ({"device_class": "alpha"} | parameters).items():
        if value is None:
            continue
        kind = {str: "string_param", bool: "bool_param", int: "int64_param"}
        setattr(made.parameters[key], kind.get(type(value), "double_param"), value)
    return made


def error(stub: GRPCInferenceServiceStub, asked: pb.ModelInferRequest, **call: Any) -> Any:
    with pytest.raises(grpc.RpcError) as caught:
        stub.ModelInfer(asked, timeout=30, **call)
    return caught.value


def test_a_raw_tensor_gets_what_the_native_protocol_gives(
    stub: GRPCInferenceServiceStub, client: Client, name: str
) -> None:
    response = stub.ModelInfer(request(name), timeout=30)
    native = client.infer(tensor=gateway_pb2.Tensor(dtype="FP32", shape=SHAPE, raw=RAW.tobytes()))
    assert (response.model_name, response.model_version, response.id) == (name, "1", "one")
    (output,) = response.outputs
    assert (output.name, output.datatype, list(output.shape)) == ("logits", "FP32", [2, 10])
    assert response.raw_output_contents[0] == native.logits.raw
    said = response.parameters
    assert said["subnet"].string_param == native.subnet
    assert said["expected_accuracy"].double_param == native.expected_accuracy
    assert said["predicted_latency_ms"].double_param == native.predicted_latency_ms
    assert said["compute_ms"].double_param > 0
    assert not said["degraded"].bool_param


def test_typed_contents_are_answered_in_kind(stub: GRPCInferenceServiceStub, name: str) -> None:
    raw = stub.ModelInfer(request(name), timeout=30)
    asked = request(name)
    del asked.raw_input_contents[:]
    asked.inputs[0].contents.fp32_contents.extend(RAW.ravel().tolist())
    typed = stub.ModelInfer(asked, timeout=30)
    assert not typed.raw_output_contents
    expected = np.frombuffer(raw.raw_output_contents[0], "<f4")
    np.testing.assert_array_equal(
        np.array(typed.outputs[0].contents.fp32_contents, np.float32), expected
    )


def test_parameters_are_the_native_constraints(
    stub: GRPCInferenceServiceStub, name: str, catalog: Catalog
) -> None:
    best = stub.ModelInfer(request(name), timeout=30).parameters
    half_ms = best["predicted_latency_ms"].double_param / 2
    fast = stub.ModelInfer(request(name, latency_budget_ms=half_ms), timeout=30).parameters
    assert fast["predicted_latency_ms"].double_param <= half_ms
    least = sorted(entry.accuracy for entry in catalog.entries)[len(catalog.entries) // 2]
    good = stub.ModelInfer(request(name, min_accuracy=least), timeout=30).parameters
    assert good["expected_accuracy"].double_param >= least
    whole = stub.ModelInfer(request(name, latency_budget_ms=1000), timeout=30).parameters
    assert whole["subnet"] == best["subnet"]


def test_metadata_says_what_parameters_leave_open(
    stub: GRPCInferenceServiceStub, name: str
) -> None:
    bare = request(name, device_class=None)
    hints: dict[str, object] = {"device_class": "beta", "latency_budget_ms": 1000.0}
    metadata = (("x-device-class", "beta"), ("x-latency-budget-ms", "1000"))
    by_metadata = stub.ModelInfer(bare, timeout=30, metadata=metadata)
    by_parameter = stub.ModelInfer(request(name, **hints), timeout=30)
    assert by_metadata.parameters["subnet"] == by_parameter.parameters["subnet"]
    wrong = error(stub, bare, metadata=(("x-device-class", "beta"), ("x-min-accuracy", "much")))
    assert wrong.details() == "min_accuracy: expected a number, got 'much'"


def test_without_a_device_class_the_fallback_serves(start: Start, name: str) -> None:
    gateway = start("--fallback-device-class", "beta")
    with grpc.insecure_channel(gateway.target) as channel:
        stub = GRPCInferenceServiceStub(channel)
        unnamed = stub.ModelInfer(request(name, device_class=None), timeout=30)
        named = stub.ModelInfer(request(name, device_class="beta"), timeout=30)
        assert unnamed.parameters["subnet"] == named.parameters["subnet"]


def _without(change: str, name: str) -> pb.ModelInferRequest:
    asked = request(name)
    match change:
        case "no input":
            del asked.inputs[:]
        case "other input":
            asked.inputs[0].name = "image"
        case "datatype":
            asked.inputs[0].datatype = "FP16"
        case "shape":
            asked.inputs[0].shape[0] = 3
        case "both forms":
            asked.inputs[0].contents.fp32_contents.append(1.0)
        case "two raw":
            asked.raw_input_contents.append(b"")
        case "other output":
            asked.outputs.add(name="probabilities")
        case "classification":
            asked.outputs.add(name="logits").parameters["classification"].int64_param = 3
        case "shared memory":
            asked.inputs[0].parameters["shared_memory_region"].string_param = "region"
    return asked


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("no input", "inputs: expected one tensor, 'input', got 0"),
        ("other input", "inputs[0].name: expected 'input', got 'image'"),
        ("datatype", "tensor.dtype: "),
        ("shape", "tensor.raw: "),
        ("both forms", "raw_input_contents: "),
        ("two raw", "raw_input_contents: "),
        ("other output", "outputs.name: expected 'logits', got 'probabilities'"),
        ("classification", "outputs.parameters.classification: "),
        ("shared memory", "shared_memory_region: "),
    ],
)
def test_what_is_wrong_with_a_tensor_is_named(
    stub: GRPCInferenceServiceStub, name: str, change: str, says: str
) -> None:
    failed = error(stub, _without(change, name))
    assert failed.code() == StatusCode.INVALID_ARGUMENT
    assert failed.details().startswith(says)


@pytest.mark.parametrize(
    ("parameters", "code", "says"),
    [
        ({"device_class": None}, StatusCode.INVALID_ARGUMENT, "device_class: "),
        ({"device_class": 3}, StatusCode.INVALID_ARGUMENT, "device_class: expected a string"),
        ({"device_class": "gamma"}, StatusCode.NOT_FOUND, "device_class: 'gamma'"),
        ({"latency_budget_ms": "5"}, StatusCode.INVALID_ARGUMENT, "latency_budget_ms: "),
        ({"latency_budget_ms": True}, StatusCode.INVALID_ARGUMENT, "latency_budget_ms: "),
        ({"min_accuracy": 2.0}, StatusCode.INVALID_ARGUMENT, "min_accuracy: "),
        ({"latency_budget_ms": 1e-9}, StatusCode.FAILED_PRECONDITION, "no subnet"),
        ({"timeout": "soon"}, StatusCode.INVALID_ARGUMENT, "timeout: "),
        ({"timeout": 1}, StatusCode.DEADLINE_EXCEEDED, "the deadline"),
    ],
)
def test_what_is_wrong_with_a_parameter_is_named(
    stub: GRPCInferenceServiceStub,
    name: str,
    parameters: dict[str, object],
    code: StatusCode,
    says: str,
) -> None:
    failed = error(stub, request(name, **parameters))
    assert failed.code() == code
    assert failed.details().startswith(says)


def test_values_that_are_not_finite_stay_in_their_row(
    stub: GRPCInferenceServiceStub, name: str
) -> None:
    x = RAW.copy()
    x[1] = np.nan
    asked = request(name)
    asked.raw_input_contents[0] = x.tobytes()
    logits = np.frombuffer(stub.ModelInfer(asked, timeout=30).raw_output_contents[0], "<f4")
    assert np.isfinite(logits.reshape(2, 10)[0]).all()


def test_the_server_describes_itself(stub: GRPCInferenceServiceStub, name: str) -> None:
    assert stub.ServerLive(pb.ServerLiveRequest()).live
    assert stub.ServerReady(pb.ServerReadyRequest()).ready
    assert stub.ModelReady(pb.ModelReadyRequest(name=name, version="1")).ready
    assert not stub.ModelReady(pb.ModelReadyRequest(name="other")).ready
    assert "statistics" in stub.ServerMetadata(pb.ServerMetadataRequest()).extensions
    metadata = stub.ModelMetadata(pb.ModelMetadataRequest(name=name))
    assert [list(t.shape) for t in metadata.inputs] == [[-1, 1, 16, 16]]
    assert [list(t.shape) for t in metadata.outputs] == [[-1, 10]]
    config = stub.ModelConfig(pb.ModelConfigRequest(name=name)).config
    assert (config.max_batch_size, list(config.input[0].dims)) == (32, [1, 16, 16])
    index = stub.RepositoryIndex(pb.RepositoryIndexRequest())
    assert [(m.name, m.state) for m in index.models] == [(name, "READY")]
    with pytest.raises(grpc.RpcError) as caught:
        stub.ModelMetadata(pb.ModelMetadataRequest(name="other"))
    unknown: Any = caught.value
    assert unknown.code() == StatusCode.NOT_FOUND
    assert repr(name) in unknown.details()


def test_statistics_count_requests_and_images(
    stub: GRPCInferenceServiceStub, client: Client, name: str, tensor: MakeTensor
) -> None:
    def now() -> pb.ModelStatistics:
        return stub.ModelStatistics(pb.ModelStatisticsRequest(name=name)).model_stats[0]

    before = now()
    stub.ModelInfer(request(name), timeout=30)
    client.infer(tensor=tensor(3))
    error(stub, request(name, device_class="gamma"))
    after = now()
    assert after.inference_count - before.inference_count == 5
    assert after.execution_count - before.execution_count == 2
    stats, old = after.inference_stats, before.inference_stats
    assert (stats.success.count - old.success.count, stats.fail.count - old.fail.count) == (2, 1)
    assert stats.compute_infer.ns > old.compute_infer.ns


def test_a_stream_answers_in_order_and_survives_errors(
    stub: GRPCInferenceServiceStub, name: str
) -> None:
    def requests() -> Iterator[pb.ModelInferRequest]:
        for number in range(20):
            asked = request(name, device_class="gamma" if number == 5 else "alpha")
            asked.id = str(number)
            yield asked

    responses = list(stub.ModelStreamInfer(requests(), timeout=30))
    assert [r.infer_response.id for r in responses] == [str(n) for n in range(20)]
    failed = [r for r in responses if r.error_message]
    assert [r.infer_response.id for r in failed] == ["5"]
    assert failed[0].error_message.startswith("device_class: 'gamma'")


def test_triton_s_own_client(gateway: GatewayProcess, name: str) -> None:
    pytest.importorskip("tritonclient")
    # In a process of its own: its generated code and ours define the same messages.
    command = [sys.executable, str(TRITON), gateway.target, name]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["ready"] == [True, True, True]
    assert said["shape"] == [4, 10]
    assert said["subnet"].startswith("d")
    assert said["streamed"] == [
        "0",
        "device_class: 'gamma' is not known; there are alpha, beta",
        "2",
    ]
    assert said["error"].startswith("device_class: 'gamma'")
    assert said["counted"] >= 4
