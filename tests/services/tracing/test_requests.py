"""What a real gateway sends of its requests: spans, ids in logs and metrics, protocols, errors."""

from __future__ import annotations

import secrets
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from grpc_health.v1 import health_pb2

from protos.compofa.v1 import gateway_pb2
from protos.inference import service_pb2
from protos.inference.service_pb2_grpc import GRPCInferenceServiceStub
from protos.torchserve import inference_pb2
from protos.torchserve.inference_pb2_grpc import InferenceAPIsServiceStub
from tests.charts.monitoring.prometheus_server import MISSING, running_prometheus
from tests.redis_server import wait_until
from tests.services.test_client import png
from tests.services.tracing.conftest import WITHIN_S, Caller, infer_request, lines
from tests.services.tracing.receiver import ERROR, Received, Receiver

if TYPE_CHECKING:
    from tests.services.conftest import Connect, GatewayProcess, MakeTensor

SERVICE = "compofa.v1.SubnetGateway"
ROWS = 256  # of one request; the forward takes some milliseconds
OPENMETRICS = "application/openmetrics-text; version=1.0.0"


def test_log_and_metrics_name_the_trace(
    traced: GatewayProcess, receiver: Receiver, connect: Connect, tensor: MakeTensor
) -> None:
    caller = Caller.new()
    metadata = (*caller.metadata, ("tracestate", "vendor=x"), ("x-request-id", "followed"))
    connect(traced.target).stub.Infer(infer_request(tensor, id="m1"), timeout=30, metadata=metadata)
    spans = receiver.trace(caller.trace_id, 4)
    (server,) = (span for span in spans if span.parent == caller.span_id)
    assert server.span.trace_state == "vendor=x"
    assert (server["compofa.request_id"], server["compofa.message_id"]) == ("followed", "m1")
    (line,) = lines(traced, "followed")
    assert (line["trace_id"], line["span_id"]) == (caller.trace_id, server.id)

    text = openmetrics(traced)
    for name in ("request", "queue", "compute"):
        found = [line for line in text.splitlines() if f"compofa_{name}_seconds_bucket" in line]
        exemplars = [line.partition(" # ")[2] for line in found]
        assert any(f'trace_id="{caller.trace_id}"' in each for each in exemplars), name
    assert traced.metric("compofa_trace_spans_total", result="sent") >= 4
    assert traced.metric("compofa_trace_spans_total", result="failed") == 0
    assert "trace_id" not in traced.http("/metrics"), "the plain format has no place for them"


def openmetrics(gateway: GatewayProcess) -> str:
    """What a Prometheus that keeps exemplars reads."""
    url = f"http://127.0.0.1:{gateway.metrics_port}/metrics"
    asked = urllib.request.Request(url, headers={"Accept": OPENMETRICS})
    with urllib.request.urlopen(asked, timeout=10) as answer:
        assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
        return str(answer.read().decode())


@pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")
def test_prometheus_keeps_what_latencies_name(
    traced: GatewayProcess, connect: Connect, tensor: MakeTensor, tmp_path: Path
) -> None:
    caller, began = Caller.new(), time.time()
    targets, feature = [f"127.0.0.1:{traced.metrics_port}"], "--enable-feature=exemplar-storage"
    with running_prometheus(tmp_path, targets, [], feature) as prometheus:
        stub = connect(traced.target).stub
        stub.Infer(infer_request(tensor), timeout=30, metadata=caller.metadata)

        def names() -> set[str]:
            """The metrics whose exemplars are of the caller's trace."""
            query = '{__name__=~"compofa_.*_seconds_bucket"}'
            found = prometheus.ask("query_exemplars", query=query, start=began, end=time.time())
            return {
                series["seriesLabels"]["__name__"]
                for series in found
                for exemplar in series["exemplars"]
                if exemplar["labels"]["trace_id"] == caller.trace_id
            }

        named = {f"compofa_{what}_seconds_bucket" for what in ("request", "queue", "compute")}
        wait_until(lambda: names() == named, WITHIN_S)


def test_what_a_caller_does_not_trace_is_not_sent(
    traced: GatewayProcess, receiver: Receiver, connect: Connect, tensor: MakeTensor
) -> None:
    stub, caller = connect(traced.target).stub, Caller.new(sampled=False)
    metadata = (*caller.metadata, ("x-request-id", "unsampled"))
    stub.Infer(infer_request(tensor), timeout=30, metadata=metadata)
    wait_until(lambda: len(lines(traced, "unsampled")) == 1, WITHIN_S)
    (line,) = lines(traced, "unsampled")
    assert line["trace_id"] == caller.trace_id, "it can be found by it all the same"
    assert "span_id" not in line
    later = Caller.new()
    stub.Infer(infer_request(tensor), timeout=30, metadata=later.metadata)
    receiver.trace(later.trace_id, 4)
    assert receiver.of_trace(caller.trace_id) == []


@pytest.mark.parametrize("parent", ["", "00-0-0-01", f"00-{'0' * 32}-{'0' * 16}-01", "x" * 500])
def test_a_context_that_is_none_begins_a_trace_and_is_not_worth_a_line(
    traced: GatewayProcess, connect: Connect, tensor: MakeTensor, parent: str
) -> None:
    request_id, before = secrets.token_hex(8), len(traced.log())
    metadata = (("traceparent", parent), ("x-request-id", request_id))
    connect(traced.target).stub.Infer(infer_request(tensor), timeout=30, metadata=metadata)
    wait_until(lambda: len(lines(traced, request_id)) == 1, WITHIN_S)
    (line,) = traced.log()[before:]
    assert len(str(line["trace_id"])) == 32
    assert len(str(line["span_id"])) == 16
    assert str(line["trace_id"]) not in parent


@pytest.mark.parametrize("state", ["no state", ",".join(["a=b"] * 40), "x" * 5000])
def test_a_state_that_is_none_is_left_out(
    traced: GatewayProcess, connect: Connect, receiver: Receiver, tensor: MakeTensor, state: str
) -> None:
    caller, before = Caller.new(), len(traced.log())
    metadata = (*caller.metadata, ("tracestate", state))
    connect(traced.target).stub.Infer(infer_request(tensor), timeout=30, metadata=metadata)
    spans = receiver.trace(caller.trace_id, 4)
    assert {span.span.trace_state for span in spans} == {""}
    assert [line["event"] for line in traced.log()[before:]] == ["request"]


def test_an_error_is_the_span_s_status(
    traced: GatewayProcess, receiver: Receiver, connect: Connect, tensor: MakeTensor
) -> None:
    caller = Caller.new()
    request = infer_request(tensor, device_class="nobody" + "y" * 1000)
    with pytest.raises(grpc.RpcError):
        connect(traced.target).stub.Infer(request, timeout=30, metadata=caller.metadata)
    (server,) = receiver.trace(caller.trace_id, 1)
    assert server.span.status.code == ERROR
    assert server.span.status.message.startswith("device_class: 'nobody")
    assert server["rpc.response.status_code"] == server["error.type"] == "NOT_FOUND"
    assert len(server["compofa.device_class"]) == 200
    assert "compofa.subnet" not in server


def test_requests_of_a_batch_share_a_span_that_links_to_each(
    traced: GatewayProcess, receiver: Receiver, connect: Connect, tensor: MakeTensor
) -> None:
    stub = connect(traced.target).stub
    callers = [Caller.new() for _ in range(24)]

    def infer(caller: Caller) -> None:
        stub.Infer(infer_request(tensor), timeout=30, metadata=caller.metadata)

    request = infer_request(tensor, tensor=tensor(ROWS))
    large: list[Any] = [stub.Infer.future(request) for _ in range(8)]  # what others wait behind
    with ThreadPoolExecutor(len(callers)) as threads:
        list(threads.map(infer, callers))
    for each in large:
        each.result(timeout=30)
    ids = {caller.trace_id for caller in callers}

    def found(name: str) -> list[Received]:
        spans = list(receiver.spans)
        return [span for span in spans if span.trace_id in ids and span.name.endswith(name)]

    wait_until(lambda: len(found("Infer")) == len(found("queue")) == len(ids), WITHIN_S)
    servers = {span.id: span for span in found("Infer")}
    queues = {span.parent: span for span in found("queue")}
    assert queues.keys() == servers.keys()
    wait_until(lambda: sum(len(b.links) for b in found("batch")) == len(ids), WITHIN_S)
    batches = found("batch")
    assert any(len(batch.links) > 1 for batch in batches), "some of so many run together"
    for batch in batches:
        assert batch["compofa.batch_requests"] == len(batch.links)
        assert batch.parent in batch.links
        for each in batch.links:
            assert queues[each].links == [batch.id]
            assert servers[each]["compofa.subnet"] == batch["compofa.subnet"]
            assert servers[each]["compofa.batch_size"] == batch["compofa.batch_size"]
    assert sorted(link for batch in batches for link in batch.links) == sorted(servers)
    assert sorted(span.parent for span in found("engine")) == sorted(batch.id for batch in batches)


def test_each_message_of_a_stream_has_a_span(
    traced: GatewayProcess, receiver: Receiver, connect: Connect, tensor: MakeTensor
) -> None:
    caller, names = Caller.new(), ["alpha", "nobody", "alpha"]
    requests = [infer_request(tensor, device_class=n, id=str(i)) for i, n in enumerate(names)]
    stub = connect(traced.target).stub
    assert len(list(stub.InferStream(iter(requests), metadata=caller.metadata))) == 3

    def messages() -> list[Received]:
        return [s for s in receiver.of_trace(caller.trace_id) if s.name.startswith(SERVICE)]

    wait_until(lambda: len(messages()) == 3, WITHIN_S)
    assert {s.name for s in messages()} == {f"{SERVICE}/InferStream"}
    assert [s.parent for s in messages()] == [caller.span_id] * 3
    codes = {s["compofa.message_id"]: s["rpc.response.status_code"] for s in messages()}
    assert codes == {"0": "OK", "1": "NOT_FOUND", "2": "OK"}


def test_a_stream_that_fails_as_a_whole_has_a_span_of_its_own(
    traced: GatewayProcess, receiver: Receiver, connect: Connect
) -> None:
    caller = Caller.new()
    requests = [gateway_pb2.InferRequest(device_class="alpha", image=b"x" * 17_000_000)]
    stub = connect(traced.target).stub
    with pytest.raises(grpc.RpcError):
        list(stub.InferStream(iter(requests), metadata=caller.metadata))
    (server,) = receiver.trace(caller.trace_id, 1)
    assert (server.parent, server.span.status.code) == (caller.span_id, ERROR)
    assert server["error.type"] == "INVALID_ARGUMENT"


def test_other_protocols_take_the_same_path(
    traced: GatewayProcess, receiver: Receiver, connect: Connect, tensor: MakeTensor
) -> None:
    channel, sent = connect(traced.target).channel, tensor()
    triton = service_pb2.ModelInferRequest(model_name="tiny", raw_input_contents=[sent.raw])
    triton.inputs.add(name="input", datatype="FP32", shape=sent.shape)
    torchserve = inference_pb2.PredictionsRequest(model_name="tiny", input={"data": png()})
    callers = [Caller.new(), Caller.new()]
    hint = ("x-device-class", "alpha")
    by_triton = GRPCInferenceServiceStub(channel)
    by_triton.ModelInfer(triton, metadata=(*callers[0].metadata, hint))
    by_torchserve = InferenceAPIsServiceStub(channel)
    by_torchserve.Predictions(torchserve, metadata=(*callers[1].metadata, hint))
    methods = ("inference.GRPCInferenceService/ModelInfer",
               "org.pytorch.serve.grpc.inference.InferenceAPIsService/Predictions")  # fmt: skip
    for caller, method in zip(callers, methods, strict=True):
        spans = receiver.trace(caller.trace_id, 4)
        (server,) = (span for span in spans if span.parent == caller.span_id)
        assert server.name == server["rpc.method"] == method
        assert server["compofa.device_class"] == "alpha"
        assert {s.name for s in spans if s is not server} == {"queue", "batch", "engine"}


def test_what_runs_nothing_has_one_span_and_probes_have_none(
    traced: GatewayProcess, receiver: Receiver, connect: Connect
) -> None:
    client, probing, caller = connect(traced.target), Caller.new(), Caller.new()
    client.health.Check(health_pb2.HealthCheckRequest(), metadata=probing.metadata)
    request = gateway_pb2.SelectSubnetRequest(device_class="alpha", min_accuracy=0.6)
    chosen = client.stub.SelectSubnet(request, metadata=caller.metadata)
    (server,) = receiver.trace(caller.trace_id, 1)
    assert server["compofa.subnet"] == chosen.subnet
    assert server["compofa.min_accuracy"] == 0.6
    assert "compofa.batch_size" not in server
    assert receiver.of_trace(probing.trace_id) == []
