"""A real gateway's start and end: drain, second signal, kill and restart, ports."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.error
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grpc import StatusCode
from grpc_health.v1 import health_pb2

from protos.compofa.v1.gateway_pb2 import InferRequest

if TYPE_CHECKING:
    from tests.services.conftest import Client, Connect, GatewayProcess, MakeTensor, Start

ROWS = 256  # of one request; the forward takes some milliseconds
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@contextmanager
def load(client: Client, tensor: MakeTensor, requests: int) -> Iterator[list[Any]]:
    """Large requests, all sent; one is answered already, most of the others wait."""
    request = InferRequest(device_class="alpha", tensor=tensor(ROWS))
    futures: list[Any] = [client.stub.Infer.future(request) for _ in range(requests)]
    futures[0].result(timeout=30)
    yield futures
    for future in futures:
        future.cancel()


def lines(gateway: GatewayProcess, event: str) -> list[dict[str, object]]:
    return [line for line in gateway.log() if line["event"] == event]


def drained(gateway: GatewayProcess) -> tuple[int, list[object]]:
    """How many calls were in flight when the drain began, and the codes of those after it."""
    log = gateway.log()
    (begin,) = (i for i, line in enumerate(log) if line["event"] == "draining")
    in_flight = log[begin]["in_flight"]
    assert isinstance(in_flight, int)
    return in_flight, [line["code"] for line in log[begin:] if line["event"] == "request"]


def healthz(gateway: GatewayProcess) -> int:
    try:
        gateway.http("/healthz")
    except urllib.error.HTTPError as error:
        with error:
            return error.code
    return 200


def test_a_drain_lets_what_is_in_flight_end_and_takes_nothing_new(
    start: Start, connect: Connect, tensor: MakeTensor
) -> None:
    gateway = start("--max-batch", str(ROWS))
    client = connect(gateway.target)
    watch = client.health.Watch(health_pb2.HealthCheckRequest())
    assert next(watch).status == SERVING
    assert healthz(gateway) == 200
    with load(client, tensor, requests=40) as futures:
        gateway.ask_to_stop()
        assert next(watch).status == NOT_SERVING
        late = InferRequest(device_class="alpha", tensor=tensor())
        assert client.error(late).code() == StatusCode.UNAVAILABLE
        assert healthz(gateway) == 503
        codes = [future.code() for future in futures]
    watch.cancel()
    assert gateway.process.wait(timeout=30) == 0
    in_flight, ended = drained(gateway)
    assert in_flight > 0
    assert ended.count("OK") == in_flight
    assert set(ended) <= {"OK", "UNAVAILABLE"}
    assert set(codes) <= {StatusCode.OK, StatusCode.UNAVAILABLE}


def test_a_second_signal_cuts_the_drain_short(
    start: Start, connect: Connect, tensor: MakeTensor
) -> None:
    gateway = start("--max-batch", str(ROWS))
    client = connect(gateway.target)
    with load(client, tensor, requests=60) as futures:
        gateway.ask_to_stop()
        while not lines(gateway, "draining"):
            time.sleep(0.01)
        gateway.ask_to_stop()
        assert gateway.process.wait(timeout=30) == 0
        codes = {future.code() for future in futures}
    assert codes == {StatusCode.OK, StatusCode.UNAVAILABLE}
    assert {line["code"] for line in lines(gateway, "request")} <= {"OK", "UNAVAILABLE"}
    assert lines(gateway, "stopped") == gateway.log()[-1:]


def test_an_idle_gateway_ends_at_once(start: Start) -> None:
    gateway = start()
    gateway.ask_to_stop()
    assert gateway.process.wait(timeout=10) == 0
    events = [line["event"] for line in gateway.log() if line["event"] != "warm"]
    assert events == ["ready", "draining", "stopped"]
    ready = gateway.ready
    assert (ready["port"], ready["metrics_port"]) == (gateway.port, gateway.metrics_port)
    assert ready["engine"] in ("onnxruntime", "openvino", "torch")


def test_a_killed_gateway_starts_again_on_its_port(
    start: Start, connect: Connect, tensor: MakeTensor
) -> None:
    first = start("--max-batch", str(ROWS))
    with load(connect(first.target), tensor, requests=20):
        first.process.kill()
        first.process.wait(timeout=10)
    second = start("--port", str(first.port))
    assert second.port == first.port
    assert connect(second.target).infer(tensor=tensor()).subnet


def test_a_taken_port_is_one_clear_line(
    gateway: GatewayProcess, artifact_folder: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "gateway", "serve", str(artifact_folder)]
    command += ["--port", str(gateway.port), "--metrics-port", "0"]
    own = {"COMPOFA_STATE_DIR": str(tmp_path)}
    second = subprocess.run(command, capture_output=True, text=True, env=os.environ | own)
    assert second.returncode == 1
    assert second.stderr == f"compofa: 127.0.0.1:{gateway.port}: Address already in use\n"
