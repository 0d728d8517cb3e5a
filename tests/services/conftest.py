"""Real gateways in processes of their own, and clients that know only the protocol."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2_grpc
from prometheus_client.parser import text_string_to_metric_families

from protos.compofa.v1 import gateway_pb2, gateway_pb2_grpc

ANY_SIZE = [("grpc.max_send_message_length", -1)]
START_WITHIN_S = 60.0


@dataclass
class GatewayProcess:
    """A gateway that has said it is ready. `stderr` is the file its log goes to."""

    process: subprocess.Popen[bytes]
    port: int
    metrics_port: int
    stderr: Path

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.port}"

    def log(self) -> list[dict[str, object]]:
        """Its log lines so far."""
        return [json.loads(line) for line in self.stderr.read_text().splitlines()]

    @property
    def ready(self) -> dict[str, object]:
        """The line by which it says that it is. Its ports are written before that, and after a
        slow start it may be warm before it."""
        return self._said("ready", START_WITHIN_S)

    def ask_to_stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def http(self, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}{path}") as answer:
            return str(answer.read().decode())

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples that have these labels, now."""
        families = text_string_to_metric_families(self.http("/metrics"))
        samples = [s for family in families for s in family.samples if s.name == name]
        return sum(s.value for s in samples if labels.items() <= s.labels.items())

    def until_warm(self, within_s: float = START_WITHIN_S) -> None:
        """Until every shape has run: memory does not grow for that any more."""
        self._said("warm", within_s)

    def _said(self, event: str, within_s: float) -> dict[str, object]:
        until = time.monotonic() + within_s
        while not (found := [line for line in self.log() if line["event"] == event]):
            assert time.monotonic() < until, self.stderr.read_text()
            time.sleep(0.02)
        return found[0]

    def resident_bytes(self) -> int:
        """Memory of the whole process, as the kernel counts it."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")


class Client:
    """The stub and the plain calls that tests make most."""

    def __init__(self, target: str) -> None:
        self.channel = grpc.insecure_channel(target, ANY_SIZE)
        self.stub = gateway_pb2_grpc.SubnetGatewayStub(self.channel)
        self.health: Any = health_pb2_grpc.HealthStub(self.channel)

    def infer(self, **fields: object) -> gateway_pb2.InferResponse:
        request = gateway_pb2.InferRequest(**{"device_class": "alpha", **fields})  # type: ignore[arg-type]
        return self.stub.Infer(request, timeout=30)

    def error(self, request: gateway_pb2.InferRequest, timeout: float = 30) -> Any:
        """The status that a request ends in; the test fails where it is answered."""
        with pytest.raises(grpc.RpcError) as caught:
            self.stub.Infer(request, timeout=timeout)
        return caught.value


Start = Callable[..., GatewayProcess]
Connect = Callable[[str], Client]
MakeTensor = Callable[..., gateway_pb2.Tensor]


@pytest.fixture(scope="session")
def gateway(
    artifact_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    """One gateway for all tests that leave it running."""
    with running(artifact_folder, tmp_path_factory.mktemp("gateway")) as started:
        yield started


@pytest.fixture
def start(artifact_folder: Path, tmp_path: Path) -> Iterator[Start]:
    """Starts gateways that a test may end as it likes, with options for `serve`."""
    numbers = itertools.count()

    def started(*options: str) -> GatewayProcess:
        folder = tmp_path / f"gateway-{next(numbers)}"
        folder.mkdir()
        return stack.enter_context(running(artifact_folder, folder, *options))

    with ExitStack() as stack:
        yield started


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Makes clients that are closed when the test ends."""
    with ExitStack() as stack:

        def make(target: str) -> Client:
            client = Client(target)
            stack.callback(client.channel.close)
            return client

        yield make


@pytest.fixture
def client(gateway: GatewayProcess, connect: Connect) -> Client:
    return connect(gateway.target)


@pytest.fixture(scope="session")
def tensor() -> MakeTensor:
    """Makes random images as the tiny net takes them, [rows, 1, resolution, resolution]."""
    return _tensor


def _tensor(rows: int = 1, resolution: int = 16, seed: int = 0) -> gateway_pb2.Tensor:
    shape = (rows, 1, resolution, resolution)
    values = np.random.default_rng(seed).standard_normal(shape, np.float32)
    raw = values.astype("<f4").tobytes()
    return gateway_pb2.Tensor(name="input", dtype="FP32", shape=shape, raw=raw)


@contextmanager
def running(
    artifact: Path,
    folder: Path,
    *options: str,
    within_s: float = START_WITHIN_S,
    environment: Mapping[str, str] | None = None,
) -> Iterator[GatewayProcess]:
    """A gateway for `artifact` that keeps everything else in `folder`, killed at the end."""
    port_file, stderr = folder / "ports.json", folder / "stderr.log"
    port_file.unlink(missing_ok=True)
    command = [sys.executable, "-m", "gateway", "serve", str(artifact)]
    command += ["--port-file", str(port_file), "--port", "0", "--metrics-port", "0", *options]
    own = {"COMPOFA_STATE_DIR": str(folder / "state"), "OMP_NUM_THREADS": "1"}
    with (
        stderr.open("wb") as log,
        subprocess.Popen(
            command, stderr=log, env=os.environ | own | dict(environment or {})
        ) as process,
    ):
        try:
            ports = _ports(process, port_file, stderr, within_s)
            yield GatewayProcess(process, ports["port"], ports["metrics_port"], stderr)
        finally:
            process.kill()


def _ports(
    process: subprocess.Popen[bytes], port_file: Path, stderr: Path, within_s: float
) -> dict[str, int]:
    until = time.monotonic() + within_s
    while not port_file.exists():
        if process.poll() is not None or time.monotonic() > until:
            pytest.fail(f"the gateway did not start: {stderr.read_text()}")
        time.sleep(0.02)
    ports: dict[str, int] = json.loads(port_file.read_text())
    return ports
