"""A real gateway, called over the wire: answers, selection, health, reflection, metrics."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import numpy as np
import pytest
import torch
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from PIL import Image

from protos.compofa.v1 import gateway_pb2
from supernet.architecture import Architecture
from supernet.catalog import Catalog
from supernet.model import Supernet

if TYPE_CHECKING:
    from tests.services.conftest import Client, GatewayProcess, MakeTensor

SERVICE = "compofa.v1.SubnetGateway"


def png(size: tuple[int, int] = (28, 28)) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, size, np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("rows", [1, 5])
def test_a_tensor_is_answered_row_by_row(
    client: Client, tensor: MakeTensor, folded_supernet: Supernet, rows: int
) -> None:
    sent = tensor(rows)
    answer = client.infer(tensor=sent)
    logits = np.frombuffer(answer.logits.raw, "<f4").reshape(answer.logits.shape)
    arch = Architecture.parse(answer.subnet)
    x = torch.frombuffer(bytearray(sent.raw), dtype=torch.float32).reshape(tuple(sent.shape))
    assert arch.resolution == 16
    np.testing.assert_allclose(logits, folded_supernet(x, arch).numpy(), atol=1e-4)
    assert [p.class_index for p in answer.predictions] == logits.argmax(1).tolist()
    assert all(p.label for p in answer.predictions)
    assert answer.compute_ms > 0
    assert answer.queue_ms >= 0
    assert not answer.degraded


def test_an_image_is_answered_at_whatever_size_it_comes(client: Client) -> None:
    for size in ((28, 28), (12, 12), (40, 7)):
        answer = client.infer(image=png(size))
        assert list(answer.logits.shape) == [1, 10]


def test_the_most_accurate_subnet_within_the_budget_answers(
    client: Client, tensor: MakeTensor, catalog: Catalog
) -> None:
    best = max(catalog.entries, key=lambda entry: entry.accuracy)
    answer = client.infer(tensor=tensor())
    assert (answer.subnet, answer.expected_accuracy) == (best.subnet, best.accuracy)
    half = client.infer(tensor=tensor(), latency_budget_ms=answer.predicted_latency_ms / 2)
    assert half.predicted_latency_ms <= answer.predicted_latency_ms / 2
    assert half.expected_accuracy < answer.expected_accuracy
    slower = client.infer(tensor=tensor(), device_class="beta")
    assert slower.expected_accuracy < answer.expected_accuracy


def test_a_stream_answers_each_request_in_order(client: Client, tensor: MakeTensor) -> None:
    def requests() -> Iterator[gateway_pb2.InferRequest]:
        for number in range(40):
            name, request_id = "nobody" if number == 7 else "alpha", str(number)
            if number % 2:
                yield gateway_pb2.InferRequest(device_class=name, id=request_id, tensor=tensor())
            else:
                yield gateway_pb2.InferRequest(device_class=name, id=request_id, image=png())

    responses = list(client.stub.InferStream(requests(), timeout=30))
    assert [response.id for response in responses] == [str(n) for n in range(40)]
    failed = [response for response in responses if response.HasField("status")]
    assert [(r.id, r.status.code) for r in failed] == [("7", 5)]
    assert "there are alpha" in failed[0].status.message
    assert all(r.subnet and len(r.predictions) == 1 for r in responses if r not in failed)


def test_a_stream_s_requests_have_deadlines_of_their_own(client: Client) -> None:
    requests = [
        gateway_pb2.InferRequest(device_class="alpha", image=png(), deadline_ms=deadline_ms)
        for deadline_ms in (1e-6, -1.0, 20_000.0)
    ]
    late, wrong, fine = client.stub.InferStream(iter(requests), timeout=30)
    assert late.status.code == grpc.StatusCode.DEADLINE_EXCEEDED.value[0]
    assert wrong.status.message == (
        "deadline_ms: expected a positive, finite number of milliseconds, got -1.0"
    )
    assert fine.subnet


def test_select_says_what_infer_then_takes(client: Client) -> None:
    for budget, accuracy in ((None, None), (3.0, None), (None, 0.7)):
        request = gateway_pb2.SelectSubnetRequest(
            device_class="alpha", latency_budget_ms=budget, min_accuracy=accuracy
        )
        chosen = client.stub.SelectSubnet(request)
        same = {"latency_budget_ms": budget, "min_accuracy": accuracy}
        assert chosen.subnet == client.infer(image=png(), **same).subnet
        arch = Architecture.parse(chosen.subnet)
        assert (chosen.resolution, tuple(chosen.depths)) == (arch.resolution, arch.depths)


def test_select_at_a_resolution_stays_at_or_below_it(client: Client) -> None:
    request = gateway_pb2.SelectSubnetRequest(device_class="alpha", max_resolution=12)
    assert client.stub.SelectSubnet(request).resolution == 12
    request.max_resolution = 0
    with pytest.raises(grpc.RpcError) as caught:
        client.stub.SelectSubnet(request)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_the_device_classes_that_came_with_the_artifact_are_listed(client: Client) -> None:
    listed = client.stub.ListDeviceClasses(gateway_pb2.ListDeviceClassesRequest()).device_classes
    assert [c.name for c in listed] == ["alpha", "beta"]
    assert all(c.subnets == 18 and c.table_version == 0 and not c.measured for c in listed)
    assert all(c.default_budget_ms > 0 and c.created.endswith("Z") for c in listed)


@pytest.mark.parametrize("service", ["", SERVICE])
def test_health_is_serving(client: Client, service: str) -> None:
    answer = client.health.Check(health_pb2.HealthCheckRequest(service=service))
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_reflection_describes_the_service(client: Client) -> None:
    database = ProtoReflectionDescriptorDatabase(client.channel)
    assert {SERVICE, "grpc.health.v1.Health"} <= set(database.get_services())
    file = database.FindFileContainingSymbol(SERVICE)
    assert [method.name for method in file.service[0].method] == [
        "Infer",
        "InferStream",
        "SelectSubnet",
        "FetchSubnet",
        "ListDeviceClasses",
        "ReportLatency",
    ]


def test_metrics_move_with_requests(
    gateway: GatewayProcess, client: Client, tensor: MakeTensor
) -> None:
    ok = {"device_class": "alpha", "code": "OK", "method": "Infer"}
    before = gateway.metric("compofa_requests_total", **ok)
    answer = client.infer(tensor=tensor(3))
    assert gateway.metric("compofa_requests_total", **ok) == before + 1
    assert gateway.metric("compofa_subnets_selected_total", subnet=answer.subnet) >= 1
    assert gateway.metric("compofa_latency_table_age_seconds", device_class="beta") > 0
    assert gateway.metric("compofa_resident_bytes") > 0
    assert gateway.metric("compofa_queue_depth") == 0
    assert gateway.http("/healthz") == "ready\n"


def test_each_request_is_one_log_line(
    gateway: GatewayProcess, client: Client, tensor: MakeTensor
) -> None:
    before = len(gateway.log())
    client.infer(tensor=tensor(), device_class="beta")
    (line,) = gateway.log()[before:]
    assert (line["event"], line["method"], line["code"]) == ("request", "Infer", "OK")
    assert line["device_class"] == "beta"


CLIENT_FROM_THE_PROTO_ALONE = """
import struct, sys, grpc
from compofa.v1 import gateway_pb2 as pb, gateway_pb2_grpc
with grpc.insecure_channel(sys.argv[1]) as channel:
    raw = struct.pack("<144f", *[0.5] * 144)
    tensor = pb.Tensor(dtype="FP32", shape=[1, 1, 12, 12], raw=raw)
    request = pb.InferRequest(device_class="alpha", tensor=tensor)
    answer = gateway_pb2_grpc.SubnetGatewayStub(channel).Infer(request, timeout=30)
assert not {"gateway", "supernet", "protos"} & set(sys.modules)
print(answer.subnet, answer.predictions[0].label)
"""


def test_a_client_made_from_the_proto_file_alone_is_answered(
    gateway: GatewayProcess, tmp_path: Path
) -> None:
    protos = Path(__file__).parents[2] / "protos"
    package = tmp_path / "compofa" / "v1"
    package.mkdir(parents=True)
    for folder in (package, package.parent):
        (folder / "__init__.py").touch()
    out = [f"-I{protos}", f"--python_out={tmp_path}", f"--grpc_python_out={tmp_path}"]
    source = "compofa/v1/gateway.proto"
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", *out, source], check=True)
    script = tmp_path / "client.py"
    script.write_text(CLIENT_FROM_THE_PROTO_ALONE)
    answer = subprocess.run(
        [sys.executable, str(script), gateway.target], capture_output=True, text=True, cwd=tmp_path
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.startswith("d")
