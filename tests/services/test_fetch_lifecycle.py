"""Fetches that outlive a gateway, and gateways that end while something is fetched or built."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest

from gateway.async_client import AsyncClient
from gateway.client import Client, Constraints
from tests.services.fetching import BEST, MIB, builders, fetch, fill, filled, request, until

if TYPE_CHECKING:
    from tests.services.conftest import Connect, GatewayProcess, Start

ALPHA = Constraints("alpha")
LARGE = 256 * MIB  # takes more than a second: also a busy machine looks at it meanwhile


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "exports"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "device"
    folder.mkdir()
    return folder / "net.pt2"


def partly(out: Path) -> int:
    """How many bytes of `out` are there so far."""
    return sum(part.stat().st_size for part in out.parent.glob(f".{out.name}.*.part"))


def sent(gateway: GatewayProcess) -> list[object]:
    """The bytes that each fetch was sent."""
    return [line["bytes"] for line in gateway.log() if line["event"] == "request"]


def test_a_client_goes_on_where_a_killed_gateway_stopped(
    start: Start, cache: Path, artifact_folder: Path, out: Path
) -> None:
    data = filled(artifact_folder, cache, LARGE)
    options = ["--export-cache", str(cache)]
    first = start(*options)
    with Client(first.target, ALPHA) as client, ThreadPoolExecutor(1) as threads:
        fetched = threads.submit(client.fetch, out, format="torch")
        until(lambda: partly(out) > MIB)
        first.process.kill()
        first.process.wait(timeout=10)
        assert LARGE > partly(out) > MIB
        second = start(*options, "--port", str(first.port))
        done = fetched.result(timeout=60)
    assert (done.subnet, done.format, done.size_bytes, done.unchanged) == (
        BEST, "torch", LARGE, False
    )  # fmt: skip
    assert out.read_bytes() == data
    assert done.sha256 == hashlib.sha256(data).hexdigest()
    (rest,) = sent(second)
    assert isinstance(rest, int)
    assert 0 < rest < LARGE - MIB
    assert sorted(path.name for path in out.parent.iterdir()) == [".net.pt2.fetched", "net.pt2"]


def command(out: Path, gateway: GatewayProcess) -> list[str]:
    options = ["--format", "torch", "--out", str(out), "--target", gateway.target, "--json"]
    return [sys.executable, "-m", "compofa", "fetch", "--device-class", "alpha", *options]


def test_the_command_goes_on_where_ctrl_c_stopped_it(
    start: Start, cache: Path, artifact_folder: Path, out: Path
) -> None:
    data = filled(artifact_folder, cache, LARGE)
    gateway = start("--export-cache", str(cache))
    with subprocess.Popen(
        command(out, gateway), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        until(lambda: partly(out) > MIB)
        process.send_signal(signal.SIGINT)
        said, errors = process.communicate(timeout=20)
    assert (process.returncode, said, errors) == (130, "", "")
    there = partly(out)
    assert LARGE > there > MIB
    assert not out.exists()
    again = subprocess.run(
        command(out, gateway), capture_output=True, text=True, timeout=60, check=False
    )
    assert (again.returncode, again.stderr) == (0, "")
    document = json.loads(again.stdout)
    assert document["files"] == [str(out)]
    assert (document["bytes"], document["unchanged"]) == (LARGE, False)
    assert out.read_bytes() == data
    until(lambda: len(sent(gateway)) == 2)
    assert sent(gateway)[1] == LARGE - there
    third = subprocess.run(
        command(out, gateway), capture_output=True, text=True, timeout=60, check=False
    )
    assert json.loads(third.stdout) == document | {"unchanged": True}
    until(lambda: len(sent(gateway)) == 3)
    assert sent(gateway)[2] == 0


async def test_both_clients_leave_what_is_unchanged(
    start: Start, cache: Path, artifact_folder: Path, out: Path
) -> None:
    data = filled(artifact_folder, cache, MIB)
    gateway = start("--export-cache", str(cache))
    async with AsyncClient(gateway.target, ALPHA) as client:
        done = await client.fetch(out, format="torch")
        assert (out.read_bytes(), done.unchanged) == (data, False)
        before = out.stat().st_mtime_ns
        assert (await client.fetch(out, format="torch")).unchanged
    with Client(gateway.target, ALPHA) as blocking:
        assert blocking.fetch(out, format="torch").unchanged
        assert out.stat().st_mtime_ns == before
        out.write_bytes(b"another")
        assert not blocking.fetch(out, format="torch").unchanged
    assert out.read_bytes() == data
    until(lambda: sent(gateway) == [MIB, 0, 0, MIB])


def test_files_that_belong_together_come_together(
    start: Start, cache: Path, artifact_folder: Path, out: Path
) -> None:
    files = {f"{BEST}.xml": b"graph" * 100, f"{BEST}.bin": bytes(range(256)) * 2000}
    fill(artifact_folder, cache, "openvino", files)
    gateway = start("--export-cache", str(cache))
    out = out.with_suffix(".xml")
    with Client(gateway.target, ALPHA) as client:
        done = client.fetch(out, format="openvino")
        assert client.fetch(out, format="openvino").unchanged
    assert done.files == (out, out.with_suffix(".bin"))
    assert [file.read_bytes() for file in done.files] == list(files.values())
    until(lambda: sent(gateway) == [done.size_bytes, 0])


def test_a_client_comes_back_when_there_may_be_a_place(
    start: Start, connect: Connect, cache: Path, artifact_folder: Path, out: Path
) -> None:
    data = filled(artifact_folder, cache, 32 * MIB)
    gateway = start("--export-cache", str(cache), "--max-fetches", "1")
    other = connect(gateway.target).stub.FetchSubnet(request(), timeout=60)
    assert next(other).header.subnet == BEST
    full = {"code": "RESOURCE_EXHAUSTED"}
    with Client(gateway.target, ALPHA) as client, ThreadPoolExecutor(1) as threads:
        fetched = threads.submit(client.fetch, out, format="torch")
        until(lambda: gateway.metric("compofa_fetches_total", **full) == 1)
        other.cancel()
        assert fetched.result(timeout=30).size_bytes == len(data)


def test_a_drain_lets_a_stream_end(
    start: Start, connect: Connect, cache: Path, artifact_folder: Path
) -> None:
    data = filled(artifact_folder, cache, 32 * MIB)
    gateway = start("--export-cache", str(cache))
    stub = connect(gateway.target).stub
    stream = stub.FetchSubnet(request(), timeout=60)
    assert next(stream).header.size == len(data)
    gateway.ask_to_stop()
    until(lambda: any(line["event"] == "draining" for line in gateway.log()))
    assert b"".join(part.chunk for part in stream) == data
    assert gateway.process.wait(timeout=10) == 0
    until(lambda: sent(gateway) == [len(data)])


def test_a_drain_ends_with_its_grace_whatever_is_under_way(
    start: Start, connect: Connect, cache: Path, artifact_folder: Path
) -> None:
    filled(artifact_folder, cache, 32 * MIB)
    gateway = start("--export-cache", str(cache), "--grace-s", "0.5")
    stub = connect(gateway.target).stub
    unread = stub.FetchSubnet(request(), timeout=60)
    assert next(unread).header.size == 32 * MIB
    waiting = stub.FetchSubnet(request(min_accuracy=0.0), timeout=60)
    until(lambda: builders(gateway.process.pid))
    (builder,) = builders(gateway.process.pid)
    gateway.ask_to_stop()
    assert waiting.code() == grpc.StatusCode.UNAVAILABLE
    assert gateway.process.wait(timeout=10) == 0
    assert not Path(f"/proc/{builder}").exists()
    assert [path.suffix for path in cache.iterdir()] == [".export"]
    codes = [line["code"] for line in gateway.log() if line["event"] == "request"]
    assert codes == ["UNAVAILABLE", "UNAVAILABLE"]
    assert gateway.log()[-1]["event"] == "stopped"
    assert not [line for line in gateway.log() if line["level"] == "error"]


@pytest.mark.slow  # two builds, one after the other
def test_a_build_that_outlives_its_gateway_is_in_nobody_s_way(
    start: Start, connect: Connect, cache: Path
) -> None:
    first = start("--export-cache", str(cache))
    call = connect(first.target).stub.FetchSubnet(request(), timeout=60)
    until(lambda: builders(first.process.pid))
    (builder,) = builders(first.process.pid)
    os.kill(builder, signal.SIGSTOP)  # it has the folder that it builds in, for as long as we like
    first.process.kill()
    assert call.code() == grpc.StatusCode.UNAVAILABLE
    second = start("--export-cache", str(cache))
    stub = connect(second.target).stub
    late = stub.FetchSubnet(request(), timeout=2)
    assert late.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    os.kill(builder, signal.SIGKILL)
    came = fetch(stub, request())
    assert came.sha256 == came.header.sha256
    assert [path.suffix for path in cache.iterdir()] == [".export"]
