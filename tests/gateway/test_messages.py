import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import InvalidRequest
from gateway.request import Answer, Constraints, ImageInput, Selection, TensorInput
from gateway.services import messages
from gateway.stores.tables import DeviceClassInfo
from protos.compofa.v1.gateway_pb2 import InferRequest, SelectSubnetRequest, Tensor

LIMITS = messages.InputLimits(tensor_bytes=4 * 16 * 16 * 4, image_bytes=1000)
SELECTION = Selection("d2-3@12", accuracy=0.75, latency_ms=4.0, degraded=True)


def tensor(shape: tuple[int, ...] = (1, 1, 2, 2), size: int = 16) -> Tensor:
    return Tensor(name="input", dtype="FP32", shape=shape, raw=bytes(size))


def test_constraints_left_out_are_none_and_zero_is_a_value() -> None:
    assert messages.constraints_from(InferRequest(device_class="a")) == Constraints("a")
    request = SelectSubnetRequest(device_class="a", latency_budget_ms=2.5, min_accuracy=0.0)
    assert messages.constraints_from(request) == Constraints("a", 2.5, 0.0)


def test_an_empty_request_names_the_device_class() -> None:
    with pytest.raises(InvalidRequest, match=r"^device_class: "):
        messages.constraints_from(InferRequest())


@given(st.floats().filter(lambda x: not 0 < x < math.inf))
def test_a_budget_is_positive_and_finite(budget: float) -> None:
    with pytest.raises(InvalidRequest, match=r"^latency_budget_ms: "):
        messages.constraints_from(InferRequest(device_class="a", latency_budget_ms=budget))


def test_a_tensor_and_an_image_pass_as_they_are() -> None:
    given_tensor = messages.input_from(InferRequest(tensor=tensor()), LIMITS)
    assert given_tensor == TensorInput("FP32", (1, 1, 2, 2), bytes(16))
    assert messages.input_from(InferRequest(image=b"png"), LIMITS) == ImageInput(b"png")


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        (InferRequest(), "input: "),
        (InferRequest(tensor=tensor(size=5000)), "tensor.raw: expected at most 4096 bytes"),
        (InferRequest(tensor=Tensor(name="x", dtype="FP32")), "tensor.name: expected 'input'"),
        (InferRequest(image=bytes(1001)), "image: expected at most 1000 bytes, got 1001"),
    ],
)
def test_a_bad_input_is_rejected_by_field(request_: InferRequest, says: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        messages.input_from(request_, LIMITS)
    assert caught.value.safe_message.startswith(says)
    assert len(caught.value.safe_message) < 300


def test_a_message_within_the_limits_is_never_too_large() -> None:
    largest = InferRequest(
        device_class="a" * 63, latency_budget_ms=1.0, tensor=tensor(shape=(4, 1, 16, 16), size=4096)
    )
    assert isinstance(messages.input_from(largest, LIMITS), TensorInput)
    assert largest.ByteSize() <= LIMITS.message_bytes


def test_a_response_says_logits_classes_subnet_and_cost() -> None:
    logits = np.array([[0.0, 2.0, -1.0], [3.0, 0.5, 1.0]], np.float32)
    answer = Answer(logits, (1, 0), SELECTION, compute_ms=8.0, queue_ms=2.0, batch=1)
    response = messages.infer_response(answer, ["ankle boot", "bag", "coat"])
    back = np.frombuffer(response.logits.raw, "<f4").reshape(response.logits.shape)
    np.testing.assert_array_equal(back, logits)
    assert (response.logits.name, response.logits.dtype) == ("logits", "FP32")
    assert [(p.class_index, p.label) for p in response.predictions] == [
        (1, "bag"),
        (0, "ankle boot"),
    ]
    assert (response.subnet, response.expected_accuracy) == ("d2-3@12", 0.75)
    assert (response.predicted_latency_ms, response.compute_ms, response.queue_ms) == (4, 8, 2)
    assert response.degraded


def test_a_selection_is_spelled_out() -> None:
    response = messages.select_response(SELECTION)
    assert (response.subnet, response.resolution, list(response.depths)) == ("d2-3@12", 12, [2, 3])


@pytest.mark.parametrize("default_budget_ms", [None, 5.0])
def test_a_device_class_says_when_its_table_was_made(default_budget_ms: float | None) -> None:
    created = datetime(2026, 1, 1, 2, 0, tzinfo=timezone(timedelta(hours=2)))
    info = DeviceClassInfo(
        "a", default_budget_ms, True, "measured", 3, created, 9, "measured", "me", 4, ("b", "c")
    )
    message = messages.device_class_message(info)
    assert message.created == "2026-01-01T00:00:00Z"
    assert created == datetime.fromisoformat(message.created).astimezone(UTC)
    assert message.HasField("default_budget_ms") == (default_budget_ms is not None)
    assert (message.table_version, message.subnets, message.measured) == (3, 9, True)
    assert (message.kind, message.created_by, message.frontier_subnets) == ("measured", "me", 4)
    assert list(message.aliases) == ["b", "c"]
    unsigned = messages.device_class_message(replace(info, created_by=None))
    assert unsigned.created_by == ""
