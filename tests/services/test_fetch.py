"""`FetchSubnet` of a real gateway: exports are built once, kept, and streamed as they are read."""

from __future__ import annotations

import io
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest
import torch
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from tests.full_disk import files_at_most
from tests.services.fetching import (
    BEST,
    MIB,
    SMALLEST,
    Request,
    builders,
    fetch,
    filled,
    request,
    until,
)

if TYPE_CHECKING:
    from tests.services.conftest import Client, Connect, GatewayProcess, MakeTensor, Start


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "exports"


def error_of(client: Client, asked: Request, timeout: float = 90) -> Any:
    """What a stub raised, which is a call as well."""
    with pytest.raises(grpc.RpcError) as caught:
        fetch(client.stub, asked, timeout)
    return caught.value


def told(error: Any) -> tuple[grpc.StatusCode, str]:
    return error.code(), error.details()


def built(gateway: GatewayProcess, outcome: str = "built") -> float:
    return gateway.metric("compofa_export_builds_total", outcome=outcome)


def test_many_clients_at_once_share_one_build_that_survives_a_restart(
    start: Start, connect: Connect, cache: Path, tensor: MakeTensor
) -> None:
    gateway = start("--export-cache", str(cache))
    clients = [connect(gateway.target) for _ in range(10)]
    with ThreadPoolExecutor(len(clients)) as threads:
        came = list(threads.map(lambda client: fetch(client.stub, request()), clients))
    assert {each.data for each in came} == {came[0].data}
    header = came[0].header
    assert (header.subnet, header.format, header.offset) == (BEST, "torch", 0)
    assert (header.size, header.sha256) == (len(came[0].data), came[0].sha256)
    assert [(file.name, file.size) for file in header.files] == [(f"{BEST}.pt2", header.size)]
    assert (built(gateway), header.unchanged) == (1, False)
    assert [line["subnet"] for line in gateway.log() if line["event"] == "export built"] == [BEST]
    sent = {"device_class": "alpha", "format": "torch", "code": "OK"}
    assert gateway.metric("compofa_fetches_total", **sent) == len(clients)
    assert gateway.metric("compofa_fetch_bytes_total") == len(clients) * header.size
    assert gateway.metric("compofa_export_cache_bytes") >= header.size
    assert gateway.metric("compofa_request_seconds_count", device_class="alpha") == 0

    images = tensor(3)
    x = torch.from_numpy(np.frombuffer(images.raw, "<f4").reshape(3, 1, 16, 16).copy())
    logits = torch.export.load(io.BytesIO(came[0].data)).module()(x)
    served = clients[0].infer(tensor=images)
    assert served.subnet == BEST
    there = np.frombuffer(served.logits.raw, "<f4").reshape(3, -1)
    np.testing.assert_allclose(logits.numpy(), there, atol=1e-4)

    gateway.process.kill()
    again = start("--export-cache", str(cache))
    assert fetch(connect(again.target).stub, request()).data == came[0].data
    assert built(again) == 0


def test_what_the_caller_has_already_is_not_sent(
    start: Start, connect: Connect, cache: Path, artifact_folder: Path
) -> None:
    data = filled(artifact_folder, cache, 3 * MIB)
    gateway = start("--export-cache", str(cache))
    stub = connect(gateway.target).stub
    header = fetch(stub, request()).header
    same = fetch(stub, request(version=header.version))
    assert (same.header.unchanged, same.header.version, same.data) == (True, header.version, b"")
    assert same.header.subnet == BEST
    rest = fetch(stub, request(version=header.version, offset=MIB))
    assert (rest.header.offset, rest.data) == (MIB, data[MIB:])
    assert (rest.header.sha256, rest.header.size) == (header.sha256, 3 * MIB)
    whole = fetch(stub, request(version=header.version, offset=3 * MIB))
    assert (whole.header.offset, whole.header.unchanged, whole.data) == (3 * MIB, False, b"")
    for version in ("", "another-one", header.version[:-1]):
        anew = fetch(stub, request(version=version, offset=MIB))
        assert (anew.header.offset, anew.data) == (0, data)
    lines = [line for line in gateway.log() if line["event"] == "request"]
    assert [line["bytes"] for line in lines[:3]] == [3 * MIB, 0, 2 * MIB]
    assert {(line["method"], line["format"], line["subnet"]) for line in lines} == {
        ("FetchSubnet", "torch", BEST)
    }
    assert built(gateway) == 0


def test_unchanged_costs_no_build_where_the_cache_is_empty(
    start: Start, connect: Connect, cache: Path, artifact_folder: Path
) -> None:
    filled(artifact_folder, cache, MIB)
    gateway = start("--export-cache", str(cache))
    stub = connect(gateway.target).stub
    version = fetch(stub, request()).header.version
    for entry in cache.iterdir():
        entry.unlink()
    assert fetch(stub, request(version=version)).header.unchanged
    assert list(cache.iterdir()) == []


def test_bad_requests_are_told_by_field(
    start: Start, connect: Connect, cache: Path, artifact_folder: Path
) -> None:
    filled(artifact_folder, cache, 1000)
    client = connect(start("--export-cache", str(cache)).target)
    version = fetch(client.stub, request()).header.version
    invalid = grpc.StatusCode.INVALID_ARGUMENT
    for asked, message in (
        (request("tflite"), "format: expected one of onnx, torch, openvino, torchserve, "
         "executorch, got 'tflite'"),
        (request(offset=-1), "offset: expected a number of bytes, 0 or more, got -1"),
        (request(version=version, offset=1001),
         "offset: expected at most 1000, the bytes of this version, got 1001"),
        (request(min_accuracy=2.0), "min_accuracy: expected a number from 0 to 1, got 2.0"),
    ):  # fmt: skip
        assert told(error_of(client, asked)) == (invalid, message)
    code, message = told(error_of(client, request(device_class="gamma")))
    assert (code, "'gamma' is not known" in message) == (grpc.StatusCode.NOT_FOUND, True)
    code, _ = told(error_of(client, request(latency_budget_ms=1e-9)))
    assert code == grpc.StatusCode.FAILED_PRECONDITION


def test_a_damaged_file_is_built_again_and_not_served(
    start: Start, connect: Connect, cache: Path, artifact_folder: Path
) -> None:
    made_up = filled(artifact_folder, cache, MIB)
    gateway = start("--export-cache", str(cache))
    stub = connect(gateway.target).stub
    assert fetch(stub, request()).data == made_up
    (entry,) = cache.iterdir()
    with entry.open("r+b") as file:  # while the gateway runs, and has read it through before
        file.seek(MIB // 2)
        file.write(b"x" * 10)
    came = fetch(stub, request())
    assert came.header.sha256 == came.sha256
    torch.export.load(io.BytesIO(came.data))
    assert built(gateway) == 1
    assert [line["subnet"] for line in gateway.log() if line["event"] == "damaged export"] == [BEST]


def test_the_cache_keeps_within_its_bound(
    start: Start, connect: Connect, cache: Path, artifact_folder: Path
) -> None:
    for subnet in ("d2-2@16", "d3-3@16", SMALLEST):
        filled(artifact_folder, cache, 600_000, subnet)
    gateway = start("--export-cache", str(cache), "--max-export-cache-mib", "1")
    assert gateway.metric("compofa_export_cache_bytes") < MIB
    came = fetch(connect(gateway.target).stub, request(min_accuracy=0.0))
    assert (came.header.subnet, len(came.data), built(gateway)) == (SMALLEST, 600_000, 0)


@pytest.mark.parametrize("ends", ["cancelled", "late"])
def test_a_build_that_nobody_waits_for_is_killed(
    start: Start, connect: Connect, cache: Path, ends: str
) -> None:
    gateway = start("--export-cache", str(cache))
    stub = connect(gateway.target).stub
    calls = [stub.FetchSubnet(request(), timeout=1 if ends == "late" else 60) for _ in range(2)]
    until(lambda: builders(gateway.process.pid))
    (builder,) = builders(gateway.process.pid)
    nice = (Path("/proc") / str(builder) / "stat").read_text().rpartition(")")[2].split()[16]
    own = Path(f"/proc/{gateway.process.pid}/stat").read_text().rpartition(")")[2].split()[16]
    assert int(nice) > int(own) or int(own) == 19
    assert os.getsid(builder) == os.getsid(gateway.process.pid), "or its priority says nothing"
    if ends == "cancelled":
        calls[0].cancel()
        until(lambda: gateway.metric("compofa_fetches_open") == 1)
        assert builders(gateway.process.pid) == [builder]
        calls[1].cancel()
    else:
        assert {call.code() for call in calls} == {grpc.StatusCode.DEADLINE_EXCEEDED}
    until(lambda: not Path(f"/proc/{builder}").exists(), within_s=10)
    until(lambda: built(gateway, "cancelled") == 1)
    until(lambda: not list(cache.iterdir()))
    until(lambda: gateway.metric("compofa_fetches_open") == 0)
    code = "CANCELLED" if ends == "cancelled" else "DEADLINE_EXCEEDED"
    until(lambda: gateway.metric("compofa_fetches_total", code=code) == 2)


def test_two_gateways_on_one_cache_build_once(start: Start, connect: Connect, cache: Path) -> None:
    gateways = [start("--export-cache", str(cache)) for _ in range(2)]
    clients = [connect(gateway.target) for gateway in gateways]
    with ThreadPoolExecutor(2) as threads:
        came = list(threads.map(lambda client: fetch(client.stub, request()), clients))
    assert came[0].data == came[1].data
    assert came[0].sha256 == came[1].header.sha256
    assert sum(map(built, gateways)) == 1
    assert [path.suffix for path in cache.iterdir()] == [".export"]


def test_a_package_that_is_missing_is_named(
    start: Start, connect: Connect, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['onnxruntime'] = None\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    gateway = start("--export-cache", str(cache))
    code, message = told(error_of(connect(gateway.target), request("onnx")))
    assert code == grpc.StatusCode.FAILED_PRECONDITION
    assert message == "format 'onnx' needs onnxruntime: pip install 'compofa[export]'"
    assert (built(gateway, "failed"), list(cache.iterdir())) == (1, [])


def test_a_full_disk_is_told_and_leaves_nothing(
    start: Start, connect: Connect, cache: Path
) -> None:
    with files_at_most(20_000):
        gateway = start("--export-cache", str(cache))
    code, message = told(error_of(connect(gateway.target), request()))
    assert code == grpc.StatusCode.FAILED_PRECONDITION
    assert message == "the gateway's disk has no room for the export"
    assert list(cache.iterdir()) == []


def test_an_artifact_that_was_replaced_is_not_handed_out(
    tmp_path: Path, connect: Connect, cache: Path, artifact_folder: Path
) -> None:
    import shutil

    from tests.services.conftest import running

    mine = tmp_path / "net"
    shutil.copytree(artifact_folder, mine)
    with running(mine, tmp_path, "--export-cache", str(cache)) as gateway:
        manifest = mine / "artifact.json"
        text = manifest.read_text()
        at = text.index('"weights_sha256":') + 25
        manifest.write_text(text[:at] + ("0" if text[at] != "0" else "1") + text[at + 1 :])
        code, message = told(error_of(connect(gateway.target), request()))
    assert code == grpc.StatusCode.FAILED_PRECONDITION
    assert "no longer the one that it serves" in message


def test_so_many_fetches_at_once(
    start: Start, connect: Connect, cache: Path, artifact_folder: Path
) -> None:
    filled(artifact_folder, cache, 40 * MIB)
    gateway = start("--export-cache", str(cache), "--max-fetches", "2")
    client = connect(gateway.target)
    streams = [client.stub.FetchSubnet(request()) for _ in range(2)]
    for stream in streams:
        assert next(stream).header.subnet == BEST
    error = error_of(client, request())
    assert told(error)[0] == grpc.StatusCode.RESOURCE_EXHAUSTED
    status = rpc_status.from_call(error)
    assert status is not None
    assert status.details[0].Unpack(error_details_pb2.RetryInfo())
    for stream in streams:
        stream.cancel()
    until(lambda: gateway.metric("compofa_fetches_open") == 0)
    assert len(fetch(client.stub, request()).data) == 40 * MIB


def test_readers_that_stall_hold_up_nobody_and_cost_no_memory(
    start: Start, connect: Connect, cache: Path, artifact_folder: Path, tensor: MakeTensor
) -> None:
    data = filled(artifact_folder, cache, 64 * MIB)
    gateway = start("--export-cache", str(cache))
    gateway.until_warm()
    before = gateway.resident_bytes()
    stalled = [connect(gateway.target) for _ in range(10)]
    streams = [client.stub.FetchSubnet(request()) for client in stalled]
    for stream in streams:
        assert next(stream).header.size == len(data)
    client = connect(gateway.target)
    assert client.infer(tensor=tensor()).subnet == BEST
    assert fetch(client.stub, request()).data == data
    assert gateway.metric("compofa_fetches_open") == 10
    assert gateway.resident_bytes() - before < 100 * MIB  # of 700 that are open
    for stream in streams:
        stream.cancel()
    until(lambda: gateway.metric("compofa_fetches_open") == 0)
    until(lambda: gateway.metric("compofa_fetches_total", code="CANCELLED") == 10)


def test_a_gateway_that_hands_nothing_out_says_so(start: Start, connect: Connect) -> None:
    client = connect(start("--no-fetch").target)
    assert told(error_of(client, request())) == (
        grpc.StatusCode.UNIMPLEMENTED,
        "this gateway hands no exports out; its option --no-fetch is on",
    )
