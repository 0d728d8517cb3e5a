"""Whatever a client sends, it gets the status of the table in docs/errors.md, and no more."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import grpc
import pytest
from grpc import StatusCode

from protos.compofa.v1.gateway_pb2 import InferRequest, Tensor

if TYPE_CHECKING:
    from tests.services.conftest import Client, GatewayProcess

MIB = 1024 * 1024


def tensor(shape: tuple[int, ...] = (1, 1, 12, 12), size: int = 576, dtype: str = "FP32") -> Tensor:
    return Tensor(name="input", dtype=dtype, shape=shape, raw=bytes(size))


def alpha(**fields: object) -> InferRequest:
    return InferRequest(**{"device_class": "alpha", "tensor": tensor(), **fields})  # type: ignore[arg-type]


def nan_tensor() -> Tensor:
    return Tensor(dtype="FP32", shape=(1, 1, 12, 12), raw=b"\0\0\xc0\x7f" * 144)


BAD = {
    "empty": (InferRequest(), StatusCode.INVALID_ARGUMENT, "device_class: "),
    "no input": (InferRequest(device_class="alpha"), StatusCode.INVALID_ARGUMENT, "input: "),
    "empty tensor": (alpha(tensor=Tensor()), StatusCode.INVALID_ARGUMENT, "tensor.dtype: "),
    "empty image": (alpha(image=b""), StatusCode.INVALID_ARGUMENT, "image: "),
    "no image": (alpha(image=b"GIF89a" * 9), StatusCode.INVALID_ARGUMENT, "image: "),
    "dtype": (alpha(tensor=tensor(dtype="FP64")), StatusCode.INVALID_ARGUMENT, "tensor.dtype: "),
    "rank": (alpha(tensor=tensor((144,))), StatusCode.INVALID_ARGUMENT, "tensor.shape: "),
    "many axes": (alpha(tensor=tensor((1,) * 9999)), StatusCode.INVALID_ARGUMENT, "tensor.shape: "),
    "negative": (alpha(tensor=tensor((-1, 1, 12, 12))), StatusCode.INVALID_ARGUMENT, "tensor.sha"),
    "no rows": (alpha(tensor=tensor((0, 1, 12, 12), 0)), StatusCode.INVALID_ARGUMENT, "tensor.sha"),
    "channels": (alpha(tensor=tensor((1, 3, 12, 12))), StatusCode.INVALID_ARGUMENT, "tensor.shape"),
    "resolution": (alpha(tensor=tensor((1, 1, 13, 13))), StatusCode.INVALID_ARGUMENT, "tensor.sha"),
    "huge": (alpha(tensor=tensor((2**62, 1, 12, 12))), StatusCode.INVALID_ARGUMENT, "tensor.shape"),
    "too few bytes": (alpha(tensor=tensor(size=575)), StatusCode.INVALID_ARGUMENT, "tensor.raw: "),
    "too many bytes": (alpha(tensor=tensor(size=580)), StatusCode.INVALID_ARGUMENT, "tensor.raw: "),
    "NaN values": (alpha(tensor=nan_tensor()), StatusCode.INVALID_ARGUMENT, "tensor.raw: "),
    "NaN budget": (alpha(latency_budget_ms=math.nan), StatusCode.INVALID_ARGUMENT, "latency_budg"),
    "infinite": (alpha(latency_budget_ms=math.inf), StatusCode.INVALID_ARGUMENT, "latency_budget"),
    "zero budget": (alpha(latency_budget_ms=0.0), StatusCode.INVALID_ARGUMENT, "latency_budget_ms"),
    "negative budget": (alpha(latency_budget_ms=-1), StatusCode.INVALID_ARGUMENT, "latency_budget"),
    "accuracy": (alpha(min_accuracy=1.01), StatusCode.INVALID_ARGUMENT, "min_accuracy: "),
    "unknown class": (alpha(device_class="gamma"), StatusCode.NOT_FOUND, "device_class: 'gamma'"),
    "long class": (alpha(device_class="x" * 100_000), StatusCode.NOT_FOUND, "device_class: 'xxx"),
    "impossible budget": (alpha(latency_budget_ms=1e-9), StatusCode.FAILED_PRECONDITION, "no subn"),
    "impossible accuracy": (alpha(min_accuracy=1.0), StatusCode.FAILED_PRECONDITION, "no subnet"),
}


@pytest.mark.parametrize(("request_", "code", "says"), BAD.values(), ids=BAD)
def test_a_bad_request_is_named_and_the_next_good_one_answered(
    client: Client, request_: InferRequest, code: StatusCode, says: str
) -> None:
    error = client.error(request_)
    assert error.code() == code, error.details()
    assert error.details().startswith(says)
    assert "\n" not in error.details()
    assert len(error.details()) <= 1000
    assert client.infer(tensor=tensor()).subnet


def test_an_unknown_class_is_told_which_there_are(client: Client) -> None:
    assert "alpha, beta" in client.error(alpha(device_class="gamma")).details()


def test_an_impossible_budget_is_told_the_nearest_that_exists(client: Client) -> None:
    assert "the fastest is d2-2@12" in client.error(alpha(latency_budget_ms=1e-9)).details()


def test_a_hundred_megabytes_are_refused_by_size(client: Client) -> None:
    error = client.error(alpha(tensor=tensor(size=100 * MIB)))
    assert error.code() == StatusCode.INVALID_ARGUMENT
    assert error.details().startswith("request: expected at most ")
    assert client.infer(tensor=tensor()).subnet


def test_more_than_grpc_reads_is_refused_by_grpc_itself(client: Client) -> None:
    error = client.error(alpha(tensor=tensor(size=129 * MIB)))
    assert error.code() == StatusCode.RESOURCE_EXHAUSTED
    assert client.infer(tensor=tensor()).subnet


@pytest.mark.parametrize("deadline_s", [0.0, 1e-6, 1e-4])
def test_an_expired_deadline_is_told_as_such(client: Client, deadline_s: float) -> None:
    assert client.error(alpha(), timeout=deadline_s).code() == StatusCode.DEADLINE_EXCEEDED
    assert client.infer(tensor=tensor()).subnet


@pytest.mark.parametrize("count", [2000, pytest.param(10_000, marks=pytest.mark.slow)])
def test_so_many_bad_requests_leave_memory_as_it_was(
    gateway: GatewayProcess, client: Client, count: int
) -> None:
    gateway.until_warm()  # which takes memory of its own
    _send_bad(client, 500)  # the first ones fill caches and the allocator's pools
    before = gateway.resident_bytes()
    _send_bad(client, count)
    assert gateway.resident_bytes() - before < 8 * MIB
    assert client.infer(tensor=tensor()).subnet


def _send_bad(client: Client, requests: int) -> None:
    """`requests` bad ones in all, 20 at a time, and each its own made-up device class or so."""
    kinds = [request for request, _, _ in BAD.values()]
    for start in range(0, requests, 20):
        futures = [
            client.stub.Infer.future(_renamed(kinds[i % len(kinds)], i))
            for i in range(start, start + 20)
        ]
        assert all(isinstance(future.exception(), grpc.RpcError) for future in futures)


def _renamed(request: InferRequest, i: int) -> InferRequest:
    if request.device_class != "gamma":
        return request
    return alpha(device_class=f"gamma-{i}")
