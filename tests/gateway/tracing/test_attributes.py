from pathlib import Path

import numpy as np

from gateway.calls import Call
from gateway.request import Answer, Constraints, Selection
from gateway.tracing import attributes

PAGE = Path(__file__).parents[3] / "docs" / "observability.md"


def names() -> set[str]:
    """Every attribute that spans may have."""
    return {
        value for name, value in vars(attributes).items()
        if name.isupper() and not name.startswith("_") and isinstance(value, str)
    }  # fmt: skip


def test_the_page_lists_every_attribute_and_no_other() -> None:
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    listed = {cell.strip("` ") for row in rows for cell in row.split("|")[1].split(",")}
    spans = {name for name in listed if "." in name}
    assert spans == names()


def test_an_answer_says_all_that_is_known() -> None:
    selection = Selection("d2-3@12", accuracy=0.75, latency_ms=1.5, degraded=True)
    call = Call("Infer", "peer", "alpha", request_id="r1", message_id="m" * 1000)
    call.constraints = Constraints("alpha", latency_budget_ms=5, min_accuracy=None)
    call.answered(Answer(np.zeros((1, 10), np.float32), (0,), selection, 2.5, 0.25, batch=4))
    assert attributes.of_call(call) == {
        "rpc.response.status_code": "OK",
        "compofa.request_id": "r1",
        "compofa.message_id": "m" * 200,
        "compofa.device_class": "alpha",
        "compofa.latency_budget_ms": 5.0,
        "compofa.subnet": "d2-3@12",
        "compofa.expected_accuracy": 0.75,
        "compofa.predicted_latency_ms": 1.5,
        "compofa.degraded": True,
        "compofa.batch_size": 4,
        "compofa.queue_ms": 0.25,
        "compofa.compute_ms": 2.5,
    }


def test_a_failed_call_says_how_it_ended() -> None:
    call = Call("FetchSubnet", "peer", export_format="onnx", sent_bytes=5, code="UNAVAILABLE")
    said = attributes.of_call(call)
    assert said["rpc.response.status_code"] == said["error.type"] == "UNAVAILABLE"
    assert (said["compofa.export_format"], said["compofa.sent_bytes"]) == ("onnx", 5)
    assert "compofa.device_class" not in said
