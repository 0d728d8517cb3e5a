"""The clients against a server that answers as told: values, errors, and what is tried again."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator

import grpc
import numpy as np
import pytest

from gateway.async_client import AsyncClient
from gateway.client import CallError, Client, Constraints, Inferred
from gateway.client_values import MAX_ATTEMPTS
from gateway.errors import Draining, GatewayError, InvalidRequest, NoSubnet, QueueFull
from gateway.interceptors import CallInterceptor
from gateway.request import Answer, Selection
from gateway.services import messages
from gateway.services.native import SERVICE
from protos.compofa.v1 import gateway_pb2, gateway_pb2_grpc

ANSWER = Answer(
    np.array([[0.0, 3.0, 1.0], [2.0, 0.0, 1.0]], np.float32),
    (1, 0),
    Selection("d2-2@16", 0.9, 1.5, True),
    compute_ms=2.0,
    queue_ms=0.5,
    batch=2,
)
LABELS = ("a", "b", "c")
ALPHA = Constraints("alpha", latency_budget_ms=3.0)
ARRAY = np.ones((2, 1, 4, 4), np.float32)


class Told(gateway_pb2_grpc.SubnetGatewayServicer):
    """Fails as often as it is told, then answers."""

    def __init__(self) -> None:
        self.failures: list[GatewayError] = []
        self.asked: list[gateway_pb2.InferRequest] = []

    async def Infer(  # noqa: N802
        self,
        request: gateway_pb2.InferRequest,
        context: object,  # noqa: ARG002
    ) -> gateway_pb2.InferResponse:
        self.asked.append(request)
        if self.failures:
            raise self.failures.pop(0)
        return messages.infer_response(ANSWER, LABELS)


@pytest.fixture
async def told() -> AsyncIterator[tuple[Told, str]]:
    """The servicer, and where it listens."""
    servicer = Told()  # type: ignore[abstract]
    server = grpc.aio.server(interceptors=[CallInterceptor([SERVICE], 10_000, [])])
    gateway_pb2_grpc.add_SubnetGatewayServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield servicer, f"127.0.0.1:{port}"
    await server.stop(0)


@pytest.fixture
async def client(told: tuple[Told, str]) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(told[1], ALPHA, deadline_s=10.0) as made:
        yield made


def test_an_answer_made_here_is_like_one_from_afar() -> None:
    assert Inferred.of(ANSWER, LABELS).as_json() == {
        "subnet": "d2-2@16",
        "class": 1,
        "label": "b",
        "expected_accuracy": 0.9,
        "predicted_latency_ms": 1.5,
        "compute_ms": 2.0,
        "queue_ms": 0.5,
        "degraded": True,
    }


async def test_an_array_is_answered_with_values(
    client: AsyncClient, told: tuple[Told, str]
) -> None:
    answer = await client.infer(ARRAY)
    np.testing.assert_array_equal(answer.logits, ANSWER.logits)
    assert [p.label for p in answer.predictions] == ["b", "a"]
    assert answer.as_json() == Inferred.of(ANSWER, LABELS).as_json()
    (request,) = told[0].asked
    assert (request.device_class, request.latency_budget_ms) == ("alpha", 3.0)
    assert not request.HasField("min_accuracy")
    np.testing.assert_array_equal(np.frombuffer(request.tensor.raw, "<f4"), ARRAY.ravel())


@pytest.mark.parametrize("array", [ARRAY.astype(np.float64), ARRAY[0]])
async def test_an_array_that_is_no_input_is_not_sent(client: AsyncClient, array: object) -> None:
    with pytest.raises(InvalidRequest, match="input: expected bytes of an image, or float32"):
        await client.infer(array)  # type: ignore[arg-type]


async def test_without_constraints_nothing_is_sent(told: tuple[Told, str]) -> None:
    async with AsyncClient(told[1]) as bare:
        with pytest.raises(InvalidRequest, match="constraints: "):
            await bare.infer(b"image")
        assert (await bare.infer(b"image", ALPHA)).subnet == "d2-2@16"


async def test_a_full_gateway_is_asked_again_when_it_said(
    client: AsyncClient, told: tuple[Told, str]
) -> None:
    told[0].failures = [QueueFull(0.3), Draining()]
    began = time.monotonic()
    assert (await client.infer(b"image")).subnet == "d2-2@16"
    assert time.monotonic() - began >= 0.3
    assert len(told[0].asked) == 3


async def test_there_is_an_end_to_trying(client: AsyncClient, told: tuple[Told, str]) -> None:
    told[0].failures = [QueueFull(0.01) for _ in range(20)]
    with pytest.raises(CallError, match=r"RESOURCE_EXHAUSTED: too many requests") as caught:
        await client.infer(b"image")
    assert (caught.value.code, caught.value.retry_after_s) == ("RESOURCE_EXHAUSTED", 0.01)
    assert len(told[0].asked) == MAX_ATTEMPTS


async def test_what_would_be_the_same_again_is_not_tried_again(
    client: AsyncClient, told: tuple[Told, str]
) -> None:
    told[0].failures = [NoSubnet("no subnet takes at most 3 ms")]
    with pytest.raises(CallError) as caught:
        await client.infer(b"image")
    assert str(caught.value).endswith("FAILED_PRECONDITION: no subnet takes at most 3 ms")
    assert (len(told[0].asked), caught.value.retry_after_s) == (1, None)


async def test_trying_again_ends_with_the_deadline(
    client: AsyncClient, told: tuple[Told, str]
) -> None:
    told[0].failures = [QueueFull(30.0)]
    began = time.monotonic()
    with pytest.raises(CallError) as caught:
        await client.infer(b"image", deadline_s=0.3)
    assert time.monotonic() - began < 5
    assert caught.value.code in ("DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED")


@pytest.fixture
def nobody() -> Iterator[Client]:
    with Client("127.0.0.1:1", ALPHA, deadline_s=5.0) as client:
        yield client


def test_nobody_there(nobody: Client) -> None:
    with pytest.raises(CallError, match=r"^127.0.0.1:1: UNAVAILABLE: "):
        nobody.infer(b"")
    with pytest.raises(CallError, match="UNAVAILABLE"):
        nobody.device_classes()
    with pytest.raises(CallError, match="UNAVAILABLE"):
        next(nobody.infer_stream([b""]))
