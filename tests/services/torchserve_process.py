"""A real TorchServe from its package, in a process of its own. Skips where it or Java is absent."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import grpc
import pytest

from protos.torchserve import inference_pb2 as pb
from protos.torchserve.inference_pb2_grpc import InferenceAPIsServiceStub

START_WITHIN_S = 240.0
_SETTINGS = """\
inference_address=http://127.0.0.1:{inference}
management_address=http://127.0.0.1:{management}
metrics_address=http://127.0.0.1:{metrics}
grpc_inference_port={grpc}
grpc_management_port={grpc_management}
default_workers_per_model=1
"""


@dataclass(frozen=True)
class TorchServe:
    """A server that has registered its models. `log` is what it said so far."""

    ports: Mapping[str, int]
    folder: Path

    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def register(self, archive: Path, **options: str) -> str:
        """Put an archive into the store and register it with one worker; what is answered."""
        shutil.copy(archive, self.folder / "store")
        asked = {"url": archive.name, "initial_workers": "1", "synchronous": "true", **options}
        status, said = self.http("management", f"/models?{urlencode(asked)}", b"")
        assert status == 200, f"{said}\n{self.log()[-3000:]}"
        return said

    def predict(
        self,
        model: str,
        body: bytes,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
    ) -> tuple[int, Any]:
        """Status and document of one prediction over HTTP."""
        path = f"/predictions/{model}" + (f"?{urlencode(query)}" if query else "")
        status, said = self.http("inference", path, body, headers or {})
        return status, json.loads(said)

    def predict_by_grpc(self, model: str, **given: bytes) -> Any:
        """The document of one prediction over gRPC; raises `grpc.RpcError`."""
        with grpc.insecure_channel(f"127.0.0.1:{self.ports['grpc']}") as channel:
            request = pb.PredictionsRequest(model_name=model, input=given)
            answer = InferenceAPIsServiceStub(channel).Predictions(request, timeout=60)
        return json.loads(answer.prediction)

    def http(
        self, port: str, path: str, body: bytes, headers: Mapping[str, str] | None = None
    ) -> tuple[int, str]:
        url = f"http://127.0.0.1:{self.ports[port]}{path}"
        own = {"content-type": "application/octet-stream", **(headers or {})}
        request = urllib.request.Request(url, body, own, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=START_WITHIN_S) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()


def skip_unless_installed() -> None:
    """What a real TorchServe needs beyond Python packages of ours."""
    pytest.importorskip("ts", reason="torchserve is not installed: extra 'torchserve'")
    if shutil.which("java") is None:
        pytest.skip("java is not installed: TorchServe runs on it")
    assert find_spec("yaml"), "without it TorchServe's workers never start"


@contextmanager
def running(folder: Path) -> Iterator[TorchServe]:
    """A server without models that keeps all it writes in `folder`, ended at the end."""
    skip_unless_installed()
    (folder / "store").mkdir()
    names = ("inference", "management", "metrics", "grpc", "grpc_management")
    ports = dict(zip(names, _free_ports(len(names)), strict=True))
    (folder / "config.properties").write_text(_SETTINGS.format(**ports))
    command = [str(Path(sys.executable).with_name("torchserve")), "--start", "--foreground"]
    command += ["--disable-token-auth", "--enable-model-api", "--no-config-snapshots"]
    command += ["--model-store", "store", "--ts-config", "config.properties"]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # its workers run `python`
    environment = os.environ | {"PATH": path, "OMP_NUM_THREADS": "1", "TEMP": str(folder)}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT,
            start_new_session=True,  # so that its workers end with it
        )  # fmt: skip
        server = TorchServe(ports, folder)
        try:
            _wait(process, server)
            yield server
        finally:
            _end(process)


def _wait(process: subprocess.Popen[bytes], server: TorchServe) -> None:
    until = time.monotonic() + START_WITHIN_S
    while process.poll() is None and time.monotonic() < until:
        with suppress(OSError):
            url = f"http://127.0.0.1:{server.ports['inference']}/ping"
            with urllib.request.urlopen(url, timeout=5):
                return
        time.sleep(0.2)
    pytest.fail(f"TorchServe did not start: {server.log()[-3000:]}")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(20)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _free_ports(count: int) -> list[int]:
    listeners = [socket.socket() for _ in range(count)]
    try:
        for listener in listeners:
            listener.bind(("127.0.0.1", 0))
        return [listener.getsockname()[1] for listener in listeners]
    finally:
        for listener in listeners:
            listener.close()
