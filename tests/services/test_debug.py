"""A real gateway's `/debug`: what its pages show, the log level, and that it is off otherwise."""

from __future__ import annotations

import http.client
import json
import urllib.error
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from protos.compofa.v1.gateway_pb2 import InferRequest
from tests.redis_server import wait_until
from tests.services.conftest import running

if TYPE_CHECKING:
    from tests.services.conftest import Connect, GatewayProcess, MakeTensor

ROWS = 256  # of one request; the forward takes some milliseconds
WITHIN_S = 10.0


@pytest.fixture(scope="module")
def open_gateway(
    artifact_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("debugged")
    with running(artifact_folder, folder, "--debug", "--workers=1", "--max-batch=256") as gateway:
        yield gateway


def ask(
    gateway: GatewayProcess, method: str, path: str, body: str = "", source: str = "127.0.0.1"
) -> tuple[int, str]:
    address = ("127.0.0.1", gateway.metrics_port)
    connection = http.client.HTTPConnection(*address, timeout=10, source_address=(source, 0))
    connection.request(method, path, body)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text


def test_it_is_off_unless_asked_for(gateway: GatewayProcess) -> None:
    for path in ("/debug", "/debug/stacks", "/debug/log-level"):
        with pytest.raises(urllib.error.HTTPError) as caught:
            gateway.http(path)
        with caught.value as error:
            assert error.code == 404


def test_every_page_can_be_read(open_gateway: GatewayProcess) -> None:
    pages = open_gateway.http("/debug").split()
    assert [page.rpartition("/")[2] for page in pages] == [
        "engine", "log-level", "profile", "queue", "stacks", "tables", "tasks"
    ]  # fmt: skip
    shown = {page: open_gateway.http(page) for page in pages if "profile" not in page}
    assert "thread MainThread (" in shown["/debug/stacks"]
    assert "TableFollower.run" in shown["/debug/tasks"]
    tables = json.loads(shown["/debug/tables"])
    assert [(t["device_class"], t["version"]) for t in tables["tables"]] == [
        ("alpha", 0), ("beta", 0)
    ]  # fmt: skip
    assert tables["store"]["up"] is True
    assert json.loads(shown["/debug/engine"])["resident_bytes"] > 0
    profile = open_gateway.http("/debug/profile?seconds=0.2")
    assert any(line.startswith("MainThread;") for line in profile.splitlines())


def test_who_waits_can_be_seen(
    open_gateway: GatewayProcess, connect: Connect, tensor: MakeTensor
) -> None:
    stub = connect(open_gateway.target).stub
    request = InferRequest(device_class="alpha", tensor=tensor(ROWS))
    metadata = (("x-request-id", "waits"),)
    futures: list[Any] = [stub.Infer.future(request, metadata=metadata) for _ in range(200)]
    seen: list[dict[str, Any]] = []

    def look() -> bool:
        seen[:] = [json.loads(open_gateway.http("/debug/queue"))]
        return bool(seen[0]["next"])

    try:
        wait_until(look, WITHIN_S)
    finally:
        for future in futures:
            future.cancel()
    (shown,) = seen
    assert shown["pending"] >= shown["waiting"] >= 1
    assert {job["request_id"] for job in shown["next"]} == {"waits"}
    assert {(job["device_class"], job["images"]) for job in shown["next"]} == {("alpha", ROWS)}


def test_the_log_level_can_be_changed(open_gateway: GatewayProcess) -> None:
    assert ask(open_gateway, "GET", "/debug/log-level") == (200, "info\n")
    assert ask(open_gateway, "PUT", "/debug/log-level", "debug\n") == (200, "debug\n")
    assert ask(open_gateway, "PUT", "/debug/log-level", "loud") == (
        400, "level: expected debug, info, warning, error, got 'loud'\n"
    )  # fmt: skip
    assert ask(open_gateway, "PUT", "/debug/log-level", "info") == (200, "info\n")
    said = [line["now"] for line in open_gateway.log() if line["event"] == "log level"]
    assert said == ["debug", "info"]


def test_others_than_this_machine_are_turned_away(open_gateway: GatewayProcess) -> None:
    for path in ("/debug", "/debug/log-level", "/debug/none"):
        assert ask(open_gateway, "GET", path, source="127.0.0.2")[0] == 403
    assert ask(open_gateway, "PUT", "/debug/log-level", "error", source="127.0.0.2")[0] == 403
    assert ask(open_gateway, "GET", "/healthz", source="127.0.0.2")[0] == 200
    assert ask(open_gateway, "GET", "/debug/log-level") == (200, "info\n")
