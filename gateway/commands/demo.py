"""The command `demo`: a real gateway, real images over gRPC, and what came of them.

Starts the gateway as a process of its own, asks it as any client would, shows which subnet
answered each device class, and drains it again.
"""

from __future__ import annotations

import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from gateway.cli import console
from gateway.client import Client, Inferred
from gateway.request import Constraints
from protos.compofa.v1 import gateway_pb2

START_WITHIN_S = 90.0
DRAIN_WITHIN_S = 30.0
METRICS_SHOWN = 6
SEED = 0

LabelledImage = tuple[Path, str]


class DemoError(ValueError):
    """The demo's gateway did not do what it should; the message says what it did."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where the demo's gateway listens: gRPC as HOST:PORT, and the URL of its metrics."""

    target: str
    metrics_url: str


@dataclass(frozen=True, slots=True)
class Asked:
    """One image sent, its true label, and the answer."""

    label: str
    answer: Inferred

    @property
    def right(self) -> bool:
        return self.label == self.answer.label


def run_shipped(num_images: int) -> int:
    """The demo on the artifact and the images that come with the package."""
    from supernet import shipped

    if num_images < 1:
        raise ValueError(f"--images {num_images}: expected at least 1")
    images = shipped.images()
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # by way of `finally`
    picked = random.Random(SEED).sample(images, min(num_images, len(images)))
    return run(shipped.artifact_folder(), picked, console())


def run(artifact: Path, images: Sequence[LabelledImage], output: Console) -> int:
    """Serve `artifact`, answer `images` for each device class, print the tables; 0."""
    output.print(f"Starting a gateway for {artifact.name} ...")
    with gateway_process(artifact) as address:
        output.print(f"gRPC on {address.target}, metrics on {address.metrics_url}\n")
        with Client(address.target) as client:
            classes = client.device_classes()
            asked = {c.name: _ask(client, c.name, images) for c in classes}
        output.print(_first_answers(classes, asked))
        output.print(_totals(classes, asked))
        for line in _metrics(address.metrics_url):
            output.print(f"  {line}", highlight=False, markup=False, soft_wrap=True)
        output.print(f"(from {address.metrics_url}, while the gateway runs)\n")
    output.print("The gateway has drained and ended.")
    return 0


@contextmanager
def gateway_process(artifact: Path) -> Iterator[Address]:
    """A gateway on free ports with a store of its own; drained on leaving, whatever happens.

    Raises `DemoError` with its last words where it does not start or does not end well.
    """
    with tempfile.TemporaryDirectory(prefix="compofa-demo-") as folder:
        log, port_file = Path(folder) / "log", Path(folder) / "ports.json"
        command = [
            sys.executable, "-m", "gateway", "serve", str(artifact),
            "--port", "0", "--metrics-port", "0", "--port-file", str(port_file),
            "--store", f"sqlite://{folder}/tables.sqlite3",
            "--threads", "1",  # as the shipped tables were measured
        ]  # fmt: skip
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=_environment()
            )
        try:
            yield _address(process, port_file, log)
            _drain(process, log)
        finally:
            _end(process)


def _environment() -> dict[str, str]:
    """This process's own, such that the gateway finds the same packages."""
    root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    return os.environ | {"PYTHONPATH": path}


def _address(process: subprocess.Popen[bytes], port_file: Path, log: Path) -> Address:
    until = time.monotonic() + START_WITHIN_S
    while not port_file.exists():
        if process.poll() is not None or time.monotonic() > until:
            raise DemoError(f"the gateway did not start: {_last_words(log)}")
        time.sleep(0.05)
    ports = json.loads(port_file.read_bytes())
    return Address(
        f"127.0.0.1:{ports['port']}", f"http://127.0.0.1:{ports['metrics_port']}/metrics"
    )


def _drain(process: subprocess.Popen[bytes], log: Path) -> None:
    process.terminate()
    try:
        status = process.wait(DRAIN_WITHIN_S)
    except subprocess.TimeoutExpired:
        raise DemoError(f"the gateway did not drain in {DRAIN_WITHIN_S:g} s") from None
    if status != 0:
        raise DemoError(f"the gateway ended with status {status}: {_last_words(log)}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """Leave no process behind, also where the demo was interrupted."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _last_words(log: Path) -> str:
    lines = log.read_text("utf-8", "replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"


def _ask(client: Client, device_class: str, images: Sequence[LabelledImage]) -> list[Asked]:
    constraints = Constraints(device_class)
    return [Asked(label, client.infer(p.read_bytes(), constraints)) for p, label in images]


def _first_answers(
    classes: Sequence[gateway_pb2.DeviceClass], asked: dict[str, list[Asked]]
) -> Table:
    """One image for each device class: what was asked, what was answered, what it cost."""
    table = Table(title="One image for each device class, within the class's default budget")
    for name in ("device class", "budget ms", "subnet", "true label", "predicted label"):
        table.add_column(name, overflow="fold")
    for name in ("expected accuracy", "predicted ms", "measured ms"):
        table.add_column(name, justify="right")
    for i, device_class in enumerate(classes):
        one = asked[device_class.name][i % len(asked[device_class.name])]
        table.add_row(
            device_class.name,
            _budget(device_class),
            one.answer.subnet,
            one.label,
            one.answer.label,
            f"{one.answer.expected_accuracy:.2%}",
            f"{one.answer.predicted_latency_ms:.3f}",
            f"{one.answer.compute_ms:.3f}",
        )
    return table


def _budget(device_class: gateway_pb2.DeviceClass) -> str:
    given = device_class.HasField("default_budget_ms")
    return f"{device_class.default_budget_ms:.4g}" if given else "any"


def _totals(classes: Sequence[gateway_pb2.DeviceClass], asked: dict[str, list[Asked]]) -> Table:
    """All images for each device class. Measured is on this machine, predicted on the class."""
    table = Table(title="All images", caption="measured ms: the gateway's engine, here")
    for name in ("device class", "latencies", "subnets"):
        table.add_column(name, overflow="fold")
    for name in ("images", "right", "median measured ms"):
        table.add_column(name, justify="right")
    for device_class in classes:
        every = asked[device_class.name]
        subnets = Counter(one.answer.subnet for one in every)
        table.add_row(
            device_class.name,
            device_class.source,
            ", ".join(subnets),
            str(len(every)),
            f"{sum(one.right for one in every) / len(every):.0%}",
            f"{statistics.median(one.answer.compute_ms for one in every):.3f}",
        )
    return table


def _metrics(url: str) -> list[str]:
    """A few of the gateway's metrics, those of its subnets first."""
    with urllib.request.urlopen(url, timeout=10) as response:
        lines = response.read().decode().splitlines()
    own = [line for line in lines if line.startswith("compofa_") and "_created" not in line]
    return sorted(own, key=lambda line: "subnet" not in line)[:METRICS_SHOWN]
