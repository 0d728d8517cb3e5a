"""Several real gateways on one real Redis: pushes, and a store that is killed and comes back."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest

from protos.compofa.v1 import gateway_pb2
from supernet.manifest import read_manifest
from tests.redis_server import RedisServer, wait_until
from tests.services.asking import asking

if TYPE_CHECKING:
    from tests.services.conftest import Client, Connect, GatewayProcess, MakeTensor, Start

PUSHED_WITHIN_S = 1.0
BACK_WITHIN_S = 2.0


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    """A server that does not run yet."""
    made = RedisServer(tmp_path / "redis")
    yield made
    made.kill()


class Tables:
    """The command `tables`, as someone runs it elsewhere. Keeps no table's name but `phone`."""

    def __init__(self, artifact: Path, url: str, folder: Path) -> None:
        self._artifact, self._url, self._file = artifact, url, folder / "table.json"
        self._subnets = list(read_manifest(artifact).catalog.subnets())

    def put(self, ms: float) -> float:
        """Import a table in which every subnet takes `ms`; when that was done."""
        self._file.write_text(json.dumps(dict.fromkeys(self._subnets, ms)))
        return self("import", str(self._file), "--format", "json")

    def __call__(self, action: str, *more: str) -> float:
        options = ["--artifact", str(self._artifact), "--device-class", "phone"]
        command = [sys.executable, "-m", "gateway", "tables", action, *more, *options]
        subprocess.run([*command, "--store", self._url], check=True, capture_output=True)
        return time.monotonic()


def predicted_ms(client: Client) -> float | None:
    """What `phone` is served by: the one latency of its table."""
    try:
        chosen = client.stub.SelectSubnet(gateway_pb2.SelectSubnetRequest(device_class="phone"))
    except grpc.RpcError:
        return None
    return chosen.predicted_latency_ms


def all_serve(clients: list[Client], ms: float | None, since: float, within_s: float) -> None:
    wait_until(
        lambda: all(predicted_ms(client) == ms for client in clients),
        within_s - (time.monotonic() - since),
    )


def up(gateways: list[GatewayProcess]) -> Callable[[], bool]:
    return lambda: all(gateway.metric("compofa_store_up") == 1 for gateway in gateways)


def test_gateways_share_a_store_that_comes_and_goes(
    start: Start,
    connect: Connect,
    tensor: MakeTensor,
    server: RedisServer,
    artifact_folder: Path,
    tmp_path: Path,
) -> None:
    gateways = [start("--store", server.url, "--workers", "1") for _ in range(3)]
    clients = [connect(gateway.target) for gateway in gateways]
    tables = Tables(artifact_folder, server.url, tmp_path)

    # They have begun without the store, by the tables that came with the artifact.
    for gateway, client in zip(gateways, clients, strict=True):
        assert client.infer(tensor=tensor()).subnet
        assert gateway.metric("compofa_store_up") == 0
        assert gateway.metric("compofa_store_staleness_seconds") > 0
        warnings = [line for line in gateway.log() if line["level"] == "warning"]
        assert len(warnings) == 1
        assert f"table store {server.url}: " in str(warnings[0]["event"])

    server.start()
    wait_until(up(gateways), BACK_WITHIN_S)
    all_serve(clients, 5.0, tables.put(5.0), PUSHED_WITHIN_S)
    all_serve(clients, 7.0, tables.put(7.0), PUSHED_WITHIN_S)
    all_serve(clients, 5.0, tables("rollback"), PUSHED_WITHIN_S)

    # No request asks the store for anything.
    before = server.calls()
    request = gateway_pb2.InferRequest(device_class="phone", tensor=tensor())

    def infer() -> object:
        return clients[0].stub.Infer(request, timeout=10)

    with asking(infer) as codes:
        wait_until(lambda: len(codes) >= 100, 20)
    looks = server.calls()["hgetall"] - before["hgetall"]
    assert looks <= 2 * 2 * len(gateways), "each looks at two keys every few seconds"

    # Killed under load, and back without anything: the tables are kept.
    with asking(infer) as codes:
        server.kill()
        wait_until(lambda: not any(g.metric("compofa_store_up") for g in gateways), 2)
        time.sleep(0.5)
        stale_s = gateways[0].metric("compofa_store_staleness_seconds")
        assert 0.5 <= stale_s <= 30
        server.forget()
        server.start()
        wait_until(up(gateways), BACK_WITHIN_S)
        wait_until(lambda: gateways[0].metric("compofa_store_staleness_seconds") < stale_s, 1)
    assert set(codes) == {grpc.StatusCode.OK}
    assert [predicted_ms(client) for client in clients] == 3 * [5.0]
    assert gateways[0].metric("compofa_latency_table_lost", device_class="phone") == 1

    all_serve(clients, 9.0, tables.put(9.0), PUSHED_WITHIN_S)
    assert gateways[0].metric("compofa_latency_table_lost", device_class="phone") == 0
    all_serve(clients, None, tables("delete"), PUSHED_WITHIN_S)


def test_a_store_that_turns_the_gateway_away_is_a_mistake_to_mend(
    redis_server: RedisServer, artifact_folder: Path
) -> None:
    url = redis_server.url.replace("//", "//nobody:secret@")
    command = [sys.executable, "-m", "gateway", "serve", str(artifact_folder), "--store", url]
    done = subprocess.run(
        [*command, "--port", "0", "--metrics-port", "0"], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr == (
        f"compofa: table store {redis_server.url}: "
        "invalid username-password pair or user is disabled.\n"
    )


@pytest.mark.slow
def test_ten_gateways_serve_by_a_new_table_within_a_second(
    start: Start,
    connect: Connect,
    server: RedisServer,
    artifact_folder: Path,
    tmp_path: Path,
) -> None:
    server.start()
    gateways = [start("--store", server.url) for _ in range(10)]
    clients = [connect(gateway.target) for gateway in gateways]
    tables = Tables(artifact_folder, server.url, tmp_path)
    for ms in (1.0, 2.0, 3.0):
        all_serve(clients, ms, tables.put(ms), PUSHED_WITHIN_S)
    for _ in range(2):
        server.kill()
        server.start()
        since = time.monotonic()
        wait_until(up(gateways), BACK_WITHIN_S)
        all_serve(clients, ms, since, BACK_WITHIN_S)
