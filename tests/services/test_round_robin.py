"""The service config of docs/kubernetes.md with two real gateways, one of which drains."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from grpc_health.v1 import health_pb2

from protos.compofa.v1 import gateway_pb2, gateway_pb2_grpc
from tests.redis_server import wait_until

if TYPE_CHECKING:
    from tests.services.conftest import Client, Connect, GatewayProcess, MakeTensor, Start

SERVICE = "compofa.v1.SubnetGateway"
DOCUMENT = Path(__file__).parents[2] / "docs" / "kubernetes.md"
CALLS = 20
ROWS, UNREAD = 256, 60


def documented() -> dict[str, Any]:
    """The service config as readers copy it."""
    found = re.search(r"service config +(\{.*?\})\n```", DOCUMENT.read_text(), re.DOTALL)
    assert found is not None
    config: dict[str, Any] = json.loads(found[1])
    return config


@contextmanager
def balancing(config: dict[str, Any], *gateways: GatewayProcess) -> Iterator[Any]:
    """A stub over all of the gateways. It tries nothing again."""
    target = "ipv4:" + ",".join(gateway.target for gateway in gateways)
    options = [("grpc.service_config", json.dumps(config)), ("grpc.enable_retries", 0)]
    with grpc.insecure_channel(target, options) as channel:
        yield gateway_pb2_grpc.SubnetGatewayStub(channel)


def statuses(stub: Any, tensor: gateway_pb2.Tensor) -> list[grpc.StatusCode]:
    """How some calls ended."""
    request = gateway_pb2.InferRequest(device_class="alpha", tensor=tensor)
    ended = []
    for _ in range(CALLS):
        try:
            stub.Infer(request, timeout=30, wait_for_ready=True)
            ended.append(grpc.StatusCode.OK)
        except grpc.RpcError as error:
            ended.append(error.code())
    return ended


@contextmanager
def draining(gateway: GatewayProcess, client: Client, rows: gateway_pb2.Tensor) -> Iterator[None]:
    """While the context is open the gateway drains: a stream whose answers nobody takes keeps it
    from coming to an end."""
    request = gateway_pb2.InferRequest(device_class="alpha", tensor=rows)
    stream = client.stub.InferStream(iter([request] * UNREAD))
    next(stream)  # it is under way; more than a connection's window is still to come
    asked = health_pb2.HealthCheckRequest(service=SERVICE)
    gateway.ask_to_stop()
    serving = health_pb2.HealthCheckResponse.SERVING
    wait_until(lambda: client.health.Check(asked, timeout=30).status != serving, 30)
    try:
        yield
        assert gateway.process.poll() is None, "it drained all the while"
    finally:
        stream.cancel()


@pytest.mark.parametrize("watches", [True, False], ids=["as documented", "without health"])
def test_a_pod_that_drains_is_left_by_whoever_watches_its_health(
    start: Start, connect: Connect, tensor: MakeTensor, watches: bool
) -> None:
    config = documented()
    if not watches:
        del config["healthCheckConfig"]
    leaving, staying = start("--grace-s", "60", "--max-batch", str(ROWS)), start()
    with balancing(config, leaving, staying) as stub:
        answered = [gateway.metric("compofa_requests_total") for gateway in (leaving, staying)]
        assert answered == [0, 0]
        assert set(statuses(stub, tensor())) == {grpc.StatusCode.OK}
        for gateway in (leaving, staying):
            assert gateway.metric("compofa_requests_total", code="OK") > 0, "all pods are used"
        with draining(leaving, connect(leaving.target), tensor(ROWS)):
            ended = set(statuses(stub, tensor()))
    assert ended == ({grpc.StatusCode.OK} if watches else {grpc.StatusCode.OK, _TURNED_AWAY})


_TURNED_AWAY = grpc.StatusCode.UNAVAILABLE
