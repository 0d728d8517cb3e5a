from __future__ import annotations

import numpy as np
import pytest

from gateway.client import CallError, Classified, Client
from gateway.request import Answer, Constraints, Selection


def test_the_first_row_of_an_answer() -> None:
    logits = np.array([[0.0, 3.0, 1.0]], np.float32)
    answer = Answer(
        logits, Selection("d2-2@16", 0.9, 1.5, True), compute_ms=2.0, queue_ms=0.5, batch=1
    )
    assert Classified.of(answer, ("a", "b", "c")).as_json() == {
        "subnet": "d2-2@16",
        "class": 1,
        "label": "b",
        "expected_accuracy": 0.9,
        "predicted_latency_ms": 1.5,
        "compute_ms": 2.0,
        "queue_ms": 0.5,
        "degraded": True,
    }


def test_nobody_there() -> None:
    with Client("127.0.0.1:1") as client:
        with pytest.raises(CallError, match=r"^127.0.0.1:1: UNAVAILABLE: "):
            client.classify(b"", Constraints("alpha"))
        with pytest.raises(CallError, match="UNAVAILABLE"):
            client.device_classes()
