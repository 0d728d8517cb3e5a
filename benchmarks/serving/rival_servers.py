"""Other servers, started with one subnet each, a worker a core, on loopback."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from load import measured
from rivals import subnet_file
from rivals.echo_server import METHOD as ECHO

from gateway.engines.opening import cpus
from protos.torchserve import inference_pb2

RIVALS = Path(__file__).with_name("rivals")
START_WITHIN_S = 120.0
PREDICTIONS = "/org.pytorch.serve.grpc.inference.InferenceAPIsService/Predictions"


@dataclass(frozen=True, slots=True)
class Batching:
    """A server waits up to `delay_ms` for `size` requests to run together."""

    size: int
    delay_ms: int

    def __str__(self) -> str:
        return f"batch {self.size}, {self.delay_ms} ms" if self.size > 1 else "no batching"


@dataclass(frozen=True, slots=True)
class Rival:
    """How to start a server in a folder, and what `load` is told so that it asks it."""

    command: list[str]
    asked: list[str]
    request: bytes
    environment: Mapping[str, str]


Make = Callable[[Path, Batching, bytes], Rival]


def torchserve(folder: Path, batching: Batching, image: bytes) -> Rival:
    """From its package, over gRPC. Needs Java and `torch-model-archiver`."""
    _archive(folder, batching)
    http, management, metrics, grpc, grpc_management = (str(_free_port()) for _ in range(5))
    (folder / "config.properties").write_text(
        f"inference_address=http://127.0.0.1:{http}\n"
        f"management_address=http://127.0.0.1:{management}\n"
        f"metrics_address=http://127.0.0.1:{metrics}\n"
        f"grpc_inference_port={grpc}\ngrpc_management_port={grpc_management}\n"
        "max_request_size=100000000\njob_queue_size=1000\n",
        "utf-8",
    )
    command = [_beside_python("torchserve"), "--start", "--foreground", "--disable-token-auth"]
    command += ["--no-config-snapshots", "--ts-config", "config.properties"]
    command += ["--model-store", "store", "--models", "subnet=subnet.mar"]
    request = inference_pb2.PredictionsRequest(model_name="subnet", input={"data": image})
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # its workers run `python`
    asked = ["grpc", f"127.0.0.1:{grpc}", "--method", PREDICTIONS]
    # It remembers in the folder for temporary files that it runs, also after it was killed.
    environment = {"PATH": path, "TMPDIR": str(folder.resolve())}
    return Rival(command, asked, request.SerializeToString(), environment)


def _archive(folder: Path, batching: Batching) -> None:
    (folder / "store").mkdir()
    (folder / "model.yaml").write_text(
        f"minWorkers: {cpus()}\nmaxWorkers: {cpus()}\nbatchSize: {batching.size}\n"
        f"maxBatchDelay: {max(1, batching.delay_ms)}\nresponseTimeout: 120\n",
        "utf-8",
    )
    command = [_beside_python("torch-model-archiver"), "--model-name", "subnet"]
    command += ["--version", "1.0", "--handler", str(RIVALS / "torchserve_handler.py")]
    command += ["--extra-files", str(RIVALS / "subnet_file.py"), "--config-file", "model.yaml"]
    subprocess.run([*command, "--export-path", "store"], cwd=folder, check=True)


def litserve(_folder: Path, batching: Batching, image: bytes) -> Rival:
    """Over HTTP, the values as the body."""
    port = _free_port()
    options = map(str, (port, cpus(), batching.size, batching.delay_ms))
    command = [sys.executable, str(RIVALS / "litserve_server.py"), *options]
    return Rival(command, ["http", f"http://127.0.0.1:{port}/predict"], image, {})


def mosec(_folder: Path, batching: Batching, image: bytes) -> Rival:
    """Over HTTP, the values as the body."""
    port = _free_port()
    options = map(str, (cpus(), batching.size, batching.delay_ms))
    command = [sys.executable, str(RIVALS / "mosec_server.py"), *options]
    command += ["--address", "127.0.0.1", "--port", str(port)]
    return Rival(command, ["http", f"http://127.0.0.1:{port}/inference"], image, {})


def echo(_folder: Path, _batching: Batching, image: bytes) -> Rival:
    """`grpc.aio` that computes nothing: what Python's gRPC could do at most."""
    port = str(_free_port())
    command = [sys.executable, str(RIVALS / "echo_server.py"), port]
    return Rival(command, ["grpc", f"127.0.0.1:{port}", "--method", ECHO], image, {})


@contextmanager
def started(rival: Rival, folder: Path, subnet: Path | None = None) -> Iterator[list[str]]:
    """The server, once it has answered a prediction; what to tell `load`. Raises `SystemExit` with
    the server's log if it does not within two minutes."""
    request = folder / "request"
    request.write_bytes(rival.request)
    asked = [*rival.asked, "--request", str(request)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | rival.environment
    if subnet is not None:
        environment[subnet_file.FILE] = str(subnet.resolve())
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            rival.command,
            cwd=folder,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # so that its workers end with it
        )
        try:
            _wait(server, asked, folder / "log")
            yield asked
        finally:
            _end(server)


def _wait(server: subprocess.Popen[bytes], asked: list[str], log: Path) -> None:
    until = time.monotonic() + START_WITHIN_S
    while server.poll() is None and time.monotonic() < until:
        try:
            if measured(asked, 1, 0.2).answers_per_s > 0:
                return
        except subprocess.CalledProcessError:
            pass  # it does not listen yet
        time.sleep(0.5)
    raise SystemExit(f"no prediction within {START_WITHIN_S:.0f} s:\n{log.read_text()[-3000:]}")


def _end(server: subprocess.Popen[bytes]) -> None:
    server.terminate()
    with suppress(subprocess.TimeoutExpired):
        server.wait(20)
    with suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)


def _beside_python(program: str) -> str:
    path = Path(sys.executable).with_name(program)
    if not path.exists():
        raise SystemExit(f"{program}: not installed; install the extra 'bench'")
    return str(path)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
