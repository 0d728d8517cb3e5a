"""Real gateways that learn: from their clients, together, and again after a restart."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import grpc
import pytest

from gateway.client import CallError
from gateway.client import Client as PythonClient
from protos.compofa.v1 import gateway_pb2
from supernet.latency import LatencyTable, read_bundled_tables
from tests.redis_server import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.redis_server import RedisServer
    from tests.services.conftest import Client, Connect, GatewayProcess, Start

LEARN = ("--learn-latency", "--learn-interval-s", "0.3", "--learn-min-clients", "3",
         "--learn-min-reports", "2")  # fmt: skip
TRUST = (*LEARN, "--learn-trust-client-names")
SOON_S = 5.0


@pytest.fixture
def alpha(artifact_folder: Path) -> LatencyTable:
    return read_bundled_tables(artifact_folder)[0]


def reports(
    table: LatencyTable, factor: float, clients: str, times: int = 2
) -> Iterator[gateway_pb2.ReportLatencyRequest]:
    """These clients say that every subnet takes `factor` times what the table says."""
    for client, (subnet, ms), _ in itertools.product(
        clients, table.latency_ms.items(), range(times)
    ):
        yield gateway_pb2.ReportLatencyRequest(
            device_class="alpha", subnet=subnet, latency_ms=ms * factor, client=client
        )


def version(client: Client) -> int:
    request = gateway_pb2.ListDeviceClassesRequest()
    listed = client.stub.ListDeviceClasses(request).device_classes
    return next(c.table_version for c in listed if c.name == "alpha")


def selected(client: Client, budget_ms: float) -> gateway_pb2.SelectSubnetResponse:
    return client.stub.SelectSubnet(
        gateway_pb2.SelectSubnetRequest(device_class="alpha", latency_budget_ms=budget_ms)
    )


def learned(gateway: GatewayProcess) -> list[dict[str, object]]:
    return [line for line in gateway.log() if line["event"] == "latency table learned"]


def test_a_gateway_learns_and_selects_by_what_it_has_learned(
    start: Start, connect: Connect, alpha: LatencyTable, redis_server: RedisServer
) -> None:
    options = (*TRUST, "--store", redis_server.url)
    gateway = start(*options, "--learn-max-total", "1.2")
    client = connect(gateway.target)
    budget_ms = 1.1 * max(alpha.latency_ms.values())
    before = selected(client, budget_ms)
    answer = client.stub.ReportLatency(reports(alpha, 1.5, "abc"))
    assert (answer.taken, answer.refused) == (3 * 18 * 2, 0)
    wait_until(lambda: version(client) == 1, SOON_S)

    # What it chose no longer fits; what does is less accurate, and slower than was thought.
    after = selected(client, budget_ms)
    assert after.expected_accuracy < before.expected_accuracy
    factor = after.predicted_latency_ms / alpha.latency_ms[after.subnet]
    assert factor == pytest.approx(1.2), "reported as 1.5, which is further than it may move"
    assert gateway.metric("compofa_latency_drift_ratio", device_class="alpha") > 1
    assert gateway.metric("compofa_latency_tables_learned_total", device_class="alpha") == 1
    assert gateway.metric("compofa_latency_report_clients", device_class="alpha") == 3
    taken = {"device_class": "alpha", "outcome": "taken"}
    assert gateway.metric("compofa_latency_reports_total", **taken) == answer.taken
    (line,) = learned(gateway)
    # It may have looked when only some were in.
    assert re.fullmatch(
        r"learned from \d+ reports of 3 clients over version 0", str(line["source"])
    )

    (info,) = (
        c for c in client.stub.ListDeviceClasses(gateway_pb2.ListDeviceClassesRequest())
        .device_classes if c.name == "alpha"
    )  # fmt: skip
    assert (info.kind, info.measured, info.source) == ("learned", False, line["source"])
    assert info.created_by.startswith("gateway ")

    # Killed and started again, it serves by what was published.
    gateway.process.kill()
    gateway.process.wait()
    again = connect(start(*options).target)
    assert version(again) == 1
    assert selected(again, budget_ms) == after


def test_one_client_however_many_names_it_has_moves_nothing(
    start: Start, connect: Connect, alpha: LatencyTable
) -> None:
    gateway = start(*LEARN)
    client = connect(gateway.target)
    lies = [(subnet, 2.0 * ms) for subnet, ms in alpha.latency_ms.items()]
    nonsense = [("d9-9@12", 1.0), ("d2-2@12", -1.0)]
    with PythonClient(gateway.target) as python:
        for name in "abcdefgh":
            said = python.report_latency("alpha", 3 * lies + nonsense, client=name)
            assert (said.taken, said.refused) == (3 * 18, {"subnet": 1, "latency": 1})
    assert said.messages["subnet"] == "subnet: 'd9-9@12' is not in the table of 'alpha'"
    assert gateway.metric("compofa_latency_report_clients", device_class="alpha") == 1
    with pytest.raises(AssertionError, match="has not come true"):
        wait_until(lambda: version(client) > 0, 1.0)
    assert learned(gateway) == []


def test_two_gateways_learn_as_one(
    start: Start, connect: Connect, alpha: LatencyTable, redis_server: RedisServer
) -> None:
    options = (*TRUST, "--store", redis_server.url, "--learn-max-total", "1.5")
    gateways = [start(*options) for _ in range(2)]
    clients = [connect(gateway.target) for gateway in gateways]
    for client, names in zip(clients, ("ab", "cd"), strict=True):
        client.stub.ReportLatency(reports(alpha, 3.0, names))
    at = {subnet: 1.5 * ms for subnet, ms in alpha.latency_ms.items()}

    def arrived() -> bool:
        now = [selected(client, 1e6) for client in clients]
        return all(s.predicted_latency_ms == pytest.approx(at[s.subnet]) for s in now)

    wait_until(arrived, SOON_S)
    published = sum(len(learned(gateway)) for gateway in gateways)
    assert published == 2, "1.25 times, then up to the bound"
    assert {version(client) for client in clients} == {2}


def test_learning_is_off_unless_asked_for(client: Client, gateway: GatewayProcess) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        client.stub.ReportLatency(iter([gateway_pb2.ReportLatencyRequest()]))
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED
    with (
        PythonClient(gateway.target) as python,
        pytest.raises(CallError, match="UNIMPLEMENTED: this gateway does not learn"),
    ):
        python.report_latency("alpha", [("d2-2@12", 1.0)])
    assert "compofa_latency_report" not in gateway.http("/metrics")


def test_aliases_and_a_fallback_that_come_later(
    start: Start, connect: Connect, redis_server: RedisServer, artifact_folder: Path
) -> None:
    from gateway import cli

    store = ("--store", redis_server.url)
    gateway = start(*store, "--fallback-device-class", "any-phone")
    client = connect(gateway.target)
    (warning,) = (line for line in gateway.log() if line["level"] == "warning")
    assert warning["device_class"] == "any-phone"

    def served(name: str) -> bool:
        try:
            client.stub.SelectSubnet(gateway_pb2.SelectSubnetRequest(device_class=name))
        except grpc.RpcError:
            return False
        return True

    own = ("--artifact", str(artifact_folder), *store)
    assert not served("pixel-7")
    assert cli.main(["tables", "alias", "pixel-7", "alpha", *own]) == 0
    wait_until(lambda: served("pixel-7"), 1.0)
    assert not served("pixel-8")
    assert cli.main(["tables", "alias", "any-phone", "beta", *own]) == 0
    wait_until(lambda: served("pixel-8"), 1.0)
    count = "compofa_requests_total"
    assert gateway.metric(count, device_class="alpha", code="OK", method="SelectSubnet") == 1
    assert gateway.metric(count, device_class="unknown", code="OK") == 1
    listed = client.stub.ListDeviceClasses(gateway_pb2.ListDeviceClassesRequest()).device_classes
    assert {c.name: list(c.aliases) for c in listed} == {
        "alpha": ["pixel-7"], "beta": ["any-phone"]
    }  # fmt: skip
