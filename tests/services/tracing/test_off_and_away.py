"""What else may be with tracing: variables ask for it, nobody receives it, or it is not there."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest

from gateway.client import Client, Constraints
from gateway.security.identities import line_of
from gateway.security.tokens import new_token
from tests.certificates import Authority
from tests.redis_server import free_port, wait_until
from tests.services.test_client import png
from tests.services.tracing.conftest import WITHIN_S, Caller, infer_request, lines
from tests.services.tracing.receiver import Receiver, receiving

if TYPE_CHECKING:
    from tests.services.conftest import Connect, GatewayProcess, MakeTensor, Start

ENDS_WITHIN_S = 20.0  # a drain, and what is given to the last spans
NEEDED = "tracing needs opentelemetry: pip install 'compofa[tracing]'"


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
    stub, caller, before = connect(gateway.target).stub, Caller.new(), len(receiver.spans)
    for _ in range(5):
        stub.Infer(infer_request(tensor), timeout=30)
    stub.Infer(infer_request(tensor), timeout=30, metadata=caller.metadata)
    spans = receiver.trace(caller.trace_id, 4)
    assert {span.resource["service.name"] for span in spans} == {"mine"}
    assert len(receiver.spans) == before + 4, "what nobody traces is not sampled"
    assert receiver.metadata["authorization"] == "Bearer s3cret"
    assert "s3cret" not in gateway.stderr.read_text()
    requests = [line for line in gateway.log() if line["event"] == "request"]
    assert [("trace_id" in line) for line in requests] == [False] * 5 + [True]


def test_by_tls_and_without_what_is_secret(
    start: Start,
    connect: Connect,
    tensor: MakeTensor,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    authority, token = Authority(tmp_path / "authority"), new_token("edge-7")
    own = authority.issue("localhost")
    credentials = grpc.ssl_server_credentials([(own.key.read_bytes(), own.cert.read_bytes())])
    (tmp_path / "tokens").write_text(line_of("edge-7", token, ["infer"]))
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", str(authority.ca))
    with receiving(credentials) as receiver:
        endpoint = f"https://localhost:{receiver.port}"
        gateway = start("--trace-endpoint", endpoint, "--tokens", str(tmp_path / "tokens"))
        stub, known, stranger = connect(gateway.target).stub, Caller.new(), Caller.new()
        shown = ("authorization", f"Bearer {token}")
        stub.Infer(infer_request(tensor), timeout=30, metadata=(*known.metadata, shown))
        with pytest.raises(grpc.RpcError):
            stub.Infer(infer_request(tensor), timeout=30, metadata=stranger.metadata)
        assert token not in str([span.span for span in receiver.trace(known.trace_id, 4)])
        assert gateway.metric("compofa_trace_spans_made_total") == 4, "of a stranger none"
        assert receiver.of_trace(stranger.trace_id) == []


@pytest.fixture
def _few_places(monkeypatch: pytest.MonkeyPatch) -> None:
    """For spans that wait, so that they run out."""
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "64")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "32")


def ends(gateway: GatewayProcess) -> None:
    """Check that it ends as soon as any other."""
    began = time.monotonic()
    gateway.ask_to_stop()
    assert gateway.process.wait(timeout=60) == 0
    assert time.monotonic() - began < ENDS_WITHIN_S


def ask(gateway: GatewayProcess, times: int) -> None:
    with Client(gateway.target, Constraints("alpha")) as client:
        for _ in range(times):
            client.infer(png())


def events(gateway: GatewayProcess) -> list[object]:
    return [line["event"] for line in gateway.log() if line["event"] != "request"]


@pytest.mark.usefixtures("_few_places")
def test_where_nobody_listens_that_is_said_once(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.5")
    gateway = start("--trace-endpoint", f"http://127.0.0.1:{free_port()}")
    ask(gateway, times=100)

    def lost() -> float:
        return gateway.metric("compofa_trace_spans_total", result="failed")

    wait_until(lambda: lost() > 32, WITHIN_S)  # of more than one attempt
    ends(gateway)
    assert events(gateway).count("traces do not get through; requests are served as ever") == 1
    assert not [line for line in gateway.log() if line["level"] == "error"]


@pytest.mark.usefixtures("_few_places")
def test_a_receiver_that_never_answers_holds_up_nothing(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "60")
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()  # to connections, and to nothing that comes over them
        gateway = start("--trace-endpoint", f"http://127.0.0.1:{silent.getsockname()[1]}")
        ask(gateway, times=100)
        ends(gateway)
    assert "the last traces were not sent" in events(gateway)


@pytest.fixture
def without_opentelemetry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """As if it were not installed, for processes started from here on; the file is there once one
    of them has looked for it."""
    package, looked = tmp_path / "shadow" / "opentelemetry", tmp_path / "looked"
    package.mkdir(parents=True)
    code = f"open({str(looked)!r}, 'w').close()\nraise ModuleNotFoundError('opentelemetry')\n"
    (package / "__init__.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(package.parent))
    return looked


def test_off_means_off(
    start: Start, connect: Connect, tensor: MakeTensor, without_opentelemetry: Path
) -> None:
    gateway = start()
    metadata = (*Caller.new().metadata, ("x-request-id", "plain"))
    connect(gateway.target).stub.Infer(infer_request(tensor), timeout=30, metadata=metadata)
    wait_until(lambda: len(lines(gateway, "plain")) == 1, WITHIN_S)
    assert not {"trace_id", "span_id"} & lines(gateway, "plain")[0].keys()
    assert "compofa_trace" not in gateway.http("/metrics")
    asking = f"from gateway.client import Client; Client({gateway.target!r}).device_classes()"
    subprocess.run([sys.executable, "-c", asking], check=True, timeout=60)
    assert not without_opentelemetry.exists(), "neither the gateway nor a client looks for it"


@pytest.mark.usefixtures("without_opentelemetry")
def test_without_the_extra_there_is_one_clear_line(artifact_folder: Path) -> None:
    command = [sys.executable, "-m", "gateway", "serve", str(artifact_folder)]
    command += ["--port=0", "--metrics-port=0", "--trace-endpoint=http://127.0.0.1:4317"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (2, f"compofa: {NEEDED}\n")


@pytest.mark.usefixtures("without_opentelemetry")
def test_variables_that_are_set_for_everything_keep_no_gateway_from_serving(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4317")
    gateway = start()
    warned = [line["event"] for line in gateway.log() if line["level"] == "warning"]
    assert warned == [f"nothing is traced: {NEEDED}"]
    ask(gateway, times=1)
