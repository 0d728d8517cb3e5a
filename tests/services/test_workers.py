"""A running gateway whose worker's process is killed: nobody notices but those who count."""

from __future__ import annotations

import os

import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from tests.gateway.workers import children
from tests.services.conftest import Connect, MakeTensor, Start

FAILURES = "compofa_worker_failures_total"


def test_a_killed_worker_is_replaced_and_counted(
    start: Start, connect: Connect, tensor: MakeTensor
) -> None:
    gateway = start("--engine", "onnxruntime", "--workers", "1")
    client = connect(gateway.target)
    before = client.infer(tensor=tensor())
    (worker,) = children.of(gateway.process.pid)
    assert os.getpgid(worker) != os.getpgid(gateway.process.pid), "Ctrl-C is the gateway's"
    assert os.getsid(worker) == os.getsid(gateway.process.pid), (
        "or the priority of what compiles says nothing"
    )
    assert gateway.metric(FAILURES) == 0
    children.kill(worker)
    after = client.infer(tensor=tensor())
    assert (after.subnet, after.logits.raw) == (before.subnet, before.logits.raw)
    assert gateway.metric(FAILURES) == 1
    (other,) = children.of(gateway.process.pid) - {worker}
    gateway.ask_to_stop()
    with children.watched(other) as ended:
        assert gateway.process.wait(timeout=30) == 0
        assert ended(other)
