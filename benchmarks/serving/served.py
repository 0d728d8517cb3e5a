"""A gateway as benchmarks start it, and what they ask it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from net import only

from protos.compofa.v1 import gateway_pb2
from supernet.architecture import Architecture

START_WITHIN_S = WARM_WITHIN_S = 60.0
METHOD = "/compofa.v1.SubnetGateway/Infer"


def infer_request(subnet: str) -> gateway_pb2.InferRequest:
    """One image, raw, for the subnet and no other."""
    size = Architecture.parse(subnet).resolution
    x = np.random.default_rng(0).standard_normal((1, 3, size, size), np.float32)
    tensor = gateway_pb2.Tensor(dtype="FP32", shape=x.shape, raw=x.astype("<f4").tobytes())
    return gateway_pb2.InferRequest(device_class=only(subnet), tensor=tensor)


@contextmanager
def gateway(artifact: Path, folder: Path, *options: str, warm: bool = True) -> Iterator[str]:
    """A gateway as it comes, once it is warm or as soon as it is ready; where it listens."""
    ports = folder / "ports.json"
    command = [sys.executable, "-m", "gateway", "serve", str(artifact), "--port", "0"]
    command += ["--metrics-port", "0", "--port-file", str(ports), "--no-request-logs"]
    command += ["--store", f"sqlite://{folder}/tables.sqlite3", *options]
    with (folder / "log").open("wb") as log, subprocess.Popen(command, stderr=log) as process:
        try:
            _wait(ports.exists, START_WITHIN_S, process, folder / "log")
            if warm:
                _wait(lambda: _is_warm(folder / "log"), WARM_WITHIN_S, process, folder / "log")
            yield f"127.0.0.1:{json.loads(ports.read_text())['port']}"
        finally:
            process.terminate()
            process.wait(30)


def _is_warm(log: Path) -> bool:
    return '"event": "warm"' in log.read_text()


def _wait(
    happened: Callable[[], bool], most_s: float, process: subprocess.Popen[bytes], log: Path
) -> None:
    until = time.monotonic() + most_s
    while not happened():
        if process.poll() is not None or time.monotonic() > until:
            raise SystemExit(log.read_text())
        time.sleep(0.05)
