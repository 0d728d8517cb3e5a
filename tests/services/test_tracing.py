"""A real gateway that traces, a real receiver of traces, and clients with and without a trace."""

from __future__ import annotations

import json
import secrets
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from grpc_health.v1 import health_pb2

from gateway.client import CallError, Client, Constraints
from protos.compofa.v1 import gateway_pb2
from protos.inference import service_pb2
from protos.inference.service_pb2_grpc import GRPCInferenceServiceStub
from protos.torchserve import inference_pb2
from protos.torchserve.inference_pb2_grpc import InferenceAPIsServiceStub
from tests.redis_server import free_port, wait_until
from tests.services.conftest import running
from tests.services.otlp_receiver import CLIENT, ERROR, OK, SERVER, Received, Receiver, receiving
from tests.services.test_client import png

if TYPE_CHECKING:
    from tests.services.conftest import Connect, GatewayProcess, MakeTensor, Start

SERVICE = "compofa.v1.SubnetGateway"
OPENMETRICS = "application/openmetrics-text; version=1.0.0"
WITHIN_S = 15.0


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def _soon() -> Iterator[None]:
    """Spans are sent at once, and not every five seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
        yield


@pytest.fixture(scope="module")
def traced(
    artifact_folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
    receiver: Receiver,
    _soon: None,
) -> Iterator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("traced")
    options = ("--trace-endpoint", receiver.endpoint, "--workers", "1")
    with running(artifact_folder, folder, *options) as gateway:
        yield gateway


def new_parent(*, sampled: bool = True) -> tuple[str, str, str]:
    """Trace id, span id and `traceparent` of a caller."""
    trace_id, span_id = secrets.token_hex(16), secrets.token_hex(8)
    return trace_id, span_id, f"00-{trace_id}-{span_id}-{'01' if sampled else '00'}"


def infer_request(tensor: MakeTensor, **fields: Any) -> gateway_pb2.InferRequest:
    return gateway_pb2.InferRequest(**{"device_class": "alpha", "tensor": tensor(), **fields})


def by_name(spans: list[Received]) -> dict[str, Received]:
    return {span.name.rpartition("/")[2]: span for span in spans}


def lines(gateway: GatewayProcess, request_id: object) -> list[dict[str, object]]:
    return [line for line in gateway.log() if line.get("request_id") == request_id]


TRACED_CALLER = """
import asyncio, sys
from pathlib import Path
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from gateway.async_client import AsyncClient
from gateway.client import Client, Constraints

target, endpoint, image = sys.argv[1], sys.argv[2], Path(sys.argv[3]).read_bytes()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
trace.set_tracer_provider(provider)
asked = Constraints("alpha", latency_budget_ms=1000.0)

async def other() -> None:
    async with AsyncClient(target, asked) as client:
        await client.infer(image)

for call in ("Client", "AsyncClient"):
    with provider.get_tracer("app").start_as_current_span("app") as span:
        if call == "Client":
            with Client(target, asked) as client:
                client.infer(image)
        else:
            asyncio.run(other())
    print(format(span.get_span_context().trace_id, "032x"))
provider.shutdown()
"""


def test_a_call_is_one_trace_from_the_client_to_the_engine(
    traced: GatewayProcess, receiver: Receiver, tmp_path: Path
) -> None:
    image = tmp_path / "image.png"
    image.write_bytes(png())
    command = [sys.executable, "-c", TRACED_CALLER, traced.target, receiver.endpoint, str(image)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    for trace_id in done.stdout.split():
        spans = receiver.trace(trace_id, 6)
        (server,) = (span for span in spans if span.span.kind == SERVER)
        (client,) = (span for span in spans if span.span.kind == CLIENT)
        named = by_name(spans)
        assert server.name == client.name == f"{SERVICE}/Infer"
        assert client.parent == named["app"].id
        assert server.parent == client.id
        assert named["queue"].parent == named["batch"].parent == server.id
        assert named["engine"].parent == named["batch"].id
        assert named["batch"].links == [server.id]
        assert named["queue"].links == [named["batch"].id]
        assert client.ms >= server.ms >= named["batch"].ms >= named["engine"].ms > 0
        assert {span.span.status.code for span in spans} == {OK}
        for span in (server, client):
            assert span["compofa.device_class"] == "alpha"
            assert span["compofa.latency_budget_ms"] == 1000.0
            assert span["compofa.subnet"] == named["engine"]["compofa.subnet"]
            assert span["compofa.predicted_latency_ms"] > 0
            assert span["compofa.degraded"] is False
            assert span["rpc.response.status_code"] == "OK"
        assert server["compofa.batch_size"] == named["batch"]["compofa.batch_size"] == 1
        assert named["batch"]["compofa.batch_requests"] == 1
        assert server["compofa.compute_ms"] == named["engine"]["compofa.compute_ms"]
        assert server.resource["service.name"] == "compofa-gateway"
        assert server.resource["compofa.artifact"] == "tiny"


def test_log_and_metrics_name_the_trace(
    traced: GatewayProcess, receiver: Receiver, connect: Connect, tensor: MakeTensor
) -> None:
    trace_id, span_id, parent = new_parent()
    metadata = (("traceparent", parent), ("tracestate", "vendor=x"), ("x-request-id", "followed"))
    connect(traced.target).stub.Infer(infer_request(tensor, id="m1"), timeout=30, metadata=metadata)
    server = by_name(receiver.trace(trace_id, 4))["Infer"]
    assert server.parent == span_id
    assert server.span.trace_state == "vendor=x"
    assert (server["compofa.request_id"], server["compofa.message_id"]) == ("followed", "m1")
    (line,) = lines(traced, "followed")
    assert (line["trace_id"], line["span_id"]) == (trace_id, server.id)

    url = f"http://127.0.0.1:{traced.metrics_port}/metrics"
    asked = urllib.request.Request(url, headers={"Accept": OPENMETRICS})
    with urllib.request.urlopen(asked, timeout=10) as answer:
        assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
        text = answer.read().decode()
    for name in ("request", "queue", "compute"):
        found = [line for line in text.splitlines() if f"compofa_{name}_seconds_bucket" in line]
        assert any(f'trace_id="{trace_id}"' in line.partition(" # ")[2] for line in found), name
    assert traced.metric("compofa_trace_spans_total", result="sent") >= 4
    assert traced.metric("compofa_trace_spans_total", result="failed") == 0
    assert "trace_id" not in traced.http("/metrics"), "the plain format has no place for them"


def test_what_a_caller_does_not_trace_is_not_sent(
    traced: GatewayProcess, receiver: Receiver, connect: Connect, tensor: MakeTensor
) -> None:
    stub = connect(traced.target).stub
    unsampled, _, parent = new_parent(sampled=False)
    metadata = (("traceparent", parent), ("x-request-id", "unsampled"))
    stub.Infer(infer_request(tensor), timeout=30, metadata=metadata)
    wait_until(lambda: len(lines(traced, "unsampled")) == 1, WITHIN_S)
    (line,) = lines(traced, "unsampled")
    assert line["trace_id"] == unsampled, "it can be found by the caller's trace all the same"
    assert "span_id" not in line
    later, _, parent = new_parent()
    stub.Infer(infer_request(tensor), timeout=30, metadata=(("traceparent", parent),))
    receiver.trace(later, 4)
    assert receiver.of_trace(unsampled) == []


@pytest.mark.parametrize("parent", ["", "00-0-0-01", f"00-{'0' * 32}-{'0' * 16}-01", "x" * 500])
def test_a_context_that_is_none_begins_a_trace(
    traced: GatewayProcess, connect: Connect, tensor: MakeTensor, parent: str
) -> None:
    request_id = secrets.token_hex(8)
    metadata = (("traceparent", parent), ("x-request-id", request_id))
    connect(traced.target).stub.Infer(infer_request(tensor), timeout=30, metadata=metadata)
    wait_until(lambda: len(lines(traced, request_id)) == 1, WITHIN_S)
    (line,) = lines(traced, request_id)
    assert len(str(line["trace_id"])) == 32
    assert len(str(line["span_id"])) == 16
    assert str(line["trace_id"]) not in parent


def test_an_error_is_the_span_s_status(
    traced: GatewayProcess, receiver: Receiver, connect: Connect, tensor: MakeTensor
) -> None:
    trace_id, _, parent = new_parent()
    request = infer_request(tensor, device_class="nobody" + "y" * 1000)
    with pytest.raises(grpc.RpcError):
        connect(traced.target).stub.Infer(request, timeout=30, metadata=(("traceparent", parent),))
    (server,) = receiver.trace(trace_id, 1)
    assert server.span.status.code == ERROR
    assert server.span.status.message.startswith("device_class: 'nobody")
    assert server["rpc.response.status_code"] == server["error.type"] == "NOT_FOUND"
    assert len(server["compofa.device_class"]) == 200
    assert "compofa.subnet" not in server


def test_requests_of_a_batch_share_a_span_that_links_to_each(
    traced: GatewayProcess, receiver: Receiver, connect: Connect, tensor: MakeTensor
) -> None:
    stub = connect(traced.target).stub
    parents = [new_parent() for _ in range(24)]

    def infer(parent: str) -> None:
        request = infer_request(tensor)
        stub.Infer(request, timeout=30, metadata=(("traceparent", parent),))

    large = stub.Infer.future(infer_request(tensor, tensor=tensor(256)))  # they queue behind it
    with ThreadPoolExecutor(len(parents)) as threads:
        list(threads.map(infer, [parent for *_, parent in parents]))
    large.result(timeout=30)
    ids = {trace_id for trace_id, *_ in parents}

    def found(name: str) -> list[Received]:
        spans = list(receiver.spans)
        return [span for span in spans if span.trace_id in ids and span.name.endswith(name)]

    wait_until(lambda: len(found("Infer")) == len(found("queue")) == len(ids), WITHIN_S)
    servers = {span.id: span for span in found("Infer")}
    queues = {span.parent: span for span in found("queue")}
    batches = found("batch")
    assert queues.keys() == servers.keys()
    shared = [batch for batch in batches if len(batch.links) > 1]
    assert shared, "some of so many run together"
    for batch in shared:
        assert batch["compofa.batch_requests"] == len(batch.links)
        assert batch.parent in batch.links
        for each in batch.links:
            assert queues[each].links == [batch.id]
            assert servers[each]["compofa.subnet"] == batch["compofa.subnet"]
    assert sorted(link for batch in batches for link in batch.links) == sorted(servers)
    engines = found("engine")
    assert sorted(span.parent for span in engines) == sorted(batch.id for batch in batches)


def test_each_message_of_a_stream_has_a_span(
    traced: GatewayProcess, receiver: Receiver, connect: Connect, tensor: MakeTensor
) -> None:
    trace_id, span_id, parent = new_parent()
    names = ["alpha", "nobody", "alpha"]
    requests = [infer_request(tensor, device_class=n, id=str(i)) for i, n in enumerate(names)]
    stub = connect(traced.target).stub
    assert len(list(stub.InferStream(iter(requests), metadata=(("traceparent", parent),)))) == 3
    wait_until(lambda: len(receiver.of_trace(trace_id)) >= 3 + 2 + 1, WITHIN_S)
    servers = [s for s in receiver.of_trace(trace_id) if s.name == f"{SERVICE}/InferStream"]
    assert [s.parent for s in servers] == [span_id] * 3
    codes = {s["compofa.message_id"]: s["rpc.response.status_code"] for s in servers}
    assert codes == {"0": "OK", "1": "NOT_FOUND", "2": "OK"}


def test_a_stream_that_fails_as_a_whole_has_a_span_of_its_own(
    traced: GatewayProcess, receiver: Receiver, connect: Connect
) -> None:
    trace_id, span_id, parent = new_parent()
    requests = [gateway_pb2.InferRequest(device_class="alpha", image=b"x" * 17_000_000)]
    stub = connect(traced.target).stub
    with pytest.raises(grpc.RpcError):
        list(stub.InferStream(iter(requests), metadata=(("traceparent", parent),)))
    (server,) = receiver.trace(trace_id, 1)
    assert (server.parent, server.span.status.code) == (span_id, ERROR)
    assert server["error.type"] == "INVALID_ARGUMENT"


def test_other_protocols_take_the_same_path(
    traced: GatewayProcess, receiver: Receiver, connect: Connect, tensor: MakeTensor
) -> None:
    channel, sent = connect(traced.target).channel, tensor()
    triton = service_pb2.ModelInferRequest(model_name="tiny", raw_input_contents=[sent.raw])
    triton.inputs.add(name="input", datatype="FP32", shape=sent.shape)
    triton.parameters["device_class"].string_param = "alpha"
    torchserve = inference_pb2.PredictionsRequest(model_name="tiny", input={"data": png()})
    for method, ask in (
        ("inference.GRPCInferenceService/ModelInfer",
         lambda m: GRPCInferenceServiceStub(channel).ModelInfer(triton, metadata=m)),
        ("org.pytorch.serve.grpc.inference.InferenceAPIsService/Predictions",
         lambda m: InferenceAPIsServiceStub(channel).Predictions(torchserve, metadata=m)),
    ):  # fmt: skip
        trace_id, span_id, parent = new_parent()
        ask((("traceparent", parent), ("x-device-class", "alpha")))
        spans = receiver.trace(trace_id, 4)
        (server,) = (span for span in spans if span.parent == span_id)
        assert server.name == server["rpc.method"] == method
        assert server["compofa.device_class"] == "alpha"
        assert {s.name for s in spans if s is not server} == {"queue", "batch", "engine"}


def test_what_runs_nothing_has_one_span_and_probes_have_none(
    traced: GatewayProcess, receiver: Receiver, connect: Connect
) -> None:
    client = connect(traced.target)
    probed, _, parent = new_parent()
    client.health.Check(health_pb2.HealthCheckRequest(), metadata=(("traceparent", parent),))
    trace_id, _, parent = new_parent()
    request = gateway_pb2.SelectSubnetRequest(device_class="alpha", min_accuracy=0.6)
    chosen = client.stub.SelectSubnet(request, metadata=(("traceparent", parent),))
    (server,) = receiver.trace(trace_id, 1)
    assert server["compofa.subnet"] == chosen.subnet
    assert server["compofa.min_accuracy"] == 0.6
    assert "compofa.batch_size" not in server
    assert receiver.of_trace(probed) == []


def test_variables_turn_it_on_and_say_who_and_how_much(
    start: Start,
    receiver: Receiver,
    connect: Connect,
    tensor: MakeTensor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20s3cret")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "mine")
    gateway = start("--trace-sample", "0")
    stub = connect(gateway.target).stub
    before = len(receiver.spans)
    for _ in range(5):
        stub.Infer(infer_request(tensor), timeout=30)
    trace_id, _, parent = new_parent()
    stub.Infer(infer_request(tensor), timeout=30, metadata=(("traceparent", parent),))
    assert {span.resource["service.name"] for span in receiver.trace(trace_id, 4)} == {"mine"}
    assert len(receiver.spans) == before + 4, "what nobody traces is not sampled"
    assert receiver.metadata["authorization"] == "Bearer s3cret"
    assert "s3cret" not in gateway.stderr.read_text()
    requests = [line for line in gateway.log() if line["event"] == "request"]
    assert [("trace_id" in line) for line in requests] == [False] * 5 + [True]


@pytest.mark.parametrize("answers", [False, True], ids=["nobody listens", "silence"])
def test_a_receiver_that_is_away_costs_no_request_and_no_end(
    start: Start, tensor: MakeTensor, monkeypatch: pytest.MonkeyPatch, answers: bool
) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "60" if answers else "1")
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "64")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "32")
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        if answers:  # to a connection alone, and to nothing that comes over it
            silent.listen()
        port = silent.getsockname()[1] if answers else free_port()
        gateway = start("--trace-endpoint", f"http://127.0.0.1:{port}")
        with Client(gateway.target, Constraints("alpha")) as client:
            for _ in range(100):  # more spans than the queue has places
                client.infer(png())
        if not answers:
            wait_until(lambda: _failures(gateway) == 1, WITHIN_S)
            assert gateway.metric("compofa_trace_spans_total", result="failed") > 0
        began = time.monotonic()
        gateway.ask_to_stop()
        assert gateway.process.wait(timeout=30) == 0
        assert time.monotonic() - began < 20
    assert _failures(gateway) == (0 if answers else 1), "once, however often it is tried"
    assert gateway.log()[-1]["event"] in ("stopped", "the last traces were not sent")


def _failures(gateway: GatewayProcess) -> int:
    return sum(str(line["event"]).startswith("traces do not get") for line in gateway.log())


@pytest.fixture
def without_opentelemetry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """As if it were not installed, for processes started from here on; the file says who tried."""
    package, tried = tmp_path / "shadow" / "opentelemetry", tmp_path / "tried"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(
        f"open({str(tried)!r}, 'w').close()\nraise ModuleNotFoundError('opentelemetry')\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(package.parent))
    return tried


def test_off_means_off(
    start: Start, connect: Connect, tensor: MakeTensor, without_opentelemetry: Path
) -> None:
    gateway = start()
    _, _, parent = new_parent()
    metadata = (("traceparent", parent), ("x-request-id", "plain"))
    connect(gateway.target).stub.Infer(infer_request(tensor), timeout=30, metadata=metadata)
    wait_until(lambda: len(lines(gateway, "plain")) == 1, WITHIN_S)
    assert not {"trace_id", "span_id"} & lines(gateway, "plain")[0].keys()
    assert "compofa_trace" not in gateway.http("/metrics")
    asks = f"from gateway.client import *; Client({gateway.target!r}).device_classes()"
    subprocess.run([sys.executable, "-c", asks], check=True, timeout=60)
    assert not without_opentelemetry.exists(), "neither the gateway nor a client looks for it"


def test_without_the_extra_there_is_one_clear_line(
    artifact_folder: Path,
    start: Start,
    without_opentelemetry: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = "OpenTelemetry is not installed; pip install 'compofa[tracing]'"
    command = [sys.executable, "-m", "gateway", "serve", str(artifact_folder)]
    command += ["--port=0", "--metrics-port=0", "--trace-endpoint=http://127.0.0.1:4317"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (2, f"compofa: tracing: {expected}\n")
    assert without_opentelemetry.exists()

    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4317")
    gateway = start()  # variables that are set for everything keep no gateway from serving
    warned = [line for line in gateway.log() if line["level"] == "warning"]
    assert [line["event"] for line in warned] == [f"nothing is traced: tracing: {expected}"]


def test_a_client_s_error_is_its_span_s(traced: GatewayProcess, receiver: Receiver) -> None:
    script = TRACED_CALLER.replace('Constraints("alpha"', 'Constraints("nobody"').replace(
        "client.infer(image)", "pass"
    )
    assert "infer" not in script.split("async def other")[0]
    body = """
with provider.get_tracer("app").start_as_current_span("app") as span:
    print(format(span.get_span_context().trace_id, "032x"))
    with Client(target, asked) as client:
        try:
            client.infer(image)
        except ValueError as error:
            assert "NOT_FOUND" in str(error)
provider.shutdown()
"""
    script = script.split("for call in")[0] + body
    command = [sys.executable, "-c", script, traced.target, receiver.endpoint, __file__]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    spans = receiver.trace(done.stdout.strip(), 3)
    client = next(span for span in spans if span.span.kind == CLIENT)
    assert client.span.status.code == ERROR
    assert client["error.type"] == "NOT_FOUND"


def test_a_client_without_tracing_is_answered_as_ever(traced: GatewayProcess) -> None:
    with Client(traced.target, Constraints("alpha")) as client:
        assert client.infer(png()).subnet
        with pytest.raises(CallError, match="NOT_FOUND"):
            client.infer(png(), Constraints("nobody"))
    assert json.loads(traced.stderr.read_text().splitlines()[-1])["code"] == "NOT_FOUND"
