"""Gateways that end while they are asked, behind a real Envoy and without; malformed messages.

Small versions of what `make chaos` tries; the slow ones are the whole of it.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import numpy as np
import pytest
from google.protobuf.descriptor import MethodDescriptor
from grpc import StatusCode
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.client import Client as OurClient
from gateway.client import Constraints
from gateway.exports.key import SUFFIXES
from gateway.select import Candidates
from protos.compofa.v1 import gateway_pb2
from supernet.latency import LatencyTable
from supernet.manifest import read_manifest
from tests.redis_server import free_port, wait_until
from tests.services.asking import asking
from tests.services.conftest import running
from tests.services.envoy import running_envoy
from tests.services.fetching import fill
from tests.services.fuzzing import Fuzzer, faults
from tests.services.malformed import Served, messages, methods, path_of

if TYPE_CHECKING:
    from tests.services.conftest import Connect, GatewayProcess, MakeTensor, Start

ROOT = Path(__file__).parents[2]
ALPHA = Constraints("alpha")
ROWS = 256  # of one request; the forward takes some milliseconds
BIG = ("--max-batch", str(ROWS))
CALLERS = 4
ENDS_WITHIN_S = 30


@contextmanager
def ours(target: str) -> Iterator[list[StatusCode]]:
    """Load by our client; the codes that its calls end in."""
    x = np.zeros((1, 1, 16, 16), np.float32)
    with OurClient(target, ALPHA) as client, asking(lambda: client.infer(x)) as codes:
        yield codes


def test_a_rolling_restart_behind_envoy_loses_nothing(start: Start, tmp_path: Path) -> None:
    ports = [free_port(), free_port()]
    serving = [start("--port", str(port)) for port in ports]
    with running_envoy(tmp_path, ports) as envoy:
        envoy.until_healthy(2)
        with ours(envoy.target) as codes:
            for place, port in enumerate(ports):
                serving[place].ask_to_stop()
                assert serving[place].process.wait(ENDS_WITHIN_S) == 0
                answered = len(codes)
                wait_until(lambda answered=answered: len(codes) >= answered + 20, 20)
                start("--port", str(port))
                envoy.until_healthy(2)
    assert len(codes) > 40
    assert set(codes) == {StatusCode.OK}


def test_a_kill_costs_what_is_in_flight_and_our_client_nothing(
    start: Start, connect: Connect, tensor: MakeTensor, tmp_path: Path
) -> None:
    gateways = [start(*BIG), start(*BIG)]
    request = gateway_pb2.InferRequest(device_class="alpha", tensor=tensor(ROWS))
    rows = np.zeros((ROWS, 1, 16, 16), np.float32)
    with running_envoy(tmp_path, [g.port for g in gateways]) as envoy, ExitStack() as stack:
        envoy.until_healthy(2)
        plain = connect(envoy.target)  # behind Envoy: gRPC's own retries need a service config
        lost = [
            stack.enter_context(asking(lambda: plain.stub.Infer(request, timeout=30)))
            for _ in range(CALLERS)
        ]
        client = stack.enter_context(OurClient(envoy.target, ALPHA))
        kept = [stack.enter_context(asking(lambda: client.infer(rows))) for _ in range(CALLERS)]
        wait_until(lambda: all(len(codes) >= 5 for codes in (*lost, *kept)), 30)
        gateways[0].process.kill()
        gateways[0].process.wait(ENDS_WITHIN_S)
        answered = [len(codes) for codes in (*lost, *kept)]
        wait_until(
            lambda: all(
                len(codes) >= before + 10
                for codes, before in zip((*lost, *kept), answered, strict=True)
            ),
            60,
        )
    for codes in kept:
        assert set(codes) == {StatusCode.OK}
    for codes, before in zip(lost, answered, strict=False):
        assert set(codes) <= {StatusCode.OK, StatusCode.UNAVAILABLE}
        # One was under way when the gateway was seen to be gone; none that began later is lost.
        assert set(codes[before + 1 :]) == {StatusCode.OK}


@pytest.fixture(scope="module")
def fuzzed(
    artifact_folder: Path,
    tables: tuple[LatencyTable, LatencyTable],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[GatewayProcess]:
    """A gateway that has every export there is, so that it builds none; its log is clean at the
    end."""
    folder = tmp_path_factory.mktemp("fuzzed")
    cache = folder / "exports"
    manifest = read_manifest(artifact_folder)
    for candidate in Candidates(manifest.catalog, tables[0]).frontier:
        for format_name in SUFFIXES:
            fill(artifact_folder, cache, format_name, {"net": bytes(1000)}, candidate.subnet)
    options = ("--export-cache", str(cache), "--learn-latency", "--no-request-logs")
    with running(artifact_folder, folder, *options) as gateway:
        yield gateway
        assert faults(gateway) == []
        assert gateway.process.poll() is None


@pytest.mark.parametrize("method", methods(), ids=path_of)
def test_a_malformed_message_is_its_sender_s_mistake(
    fuzzed: GatewayProcess, method: MethodDescriptor
) -> None:
    one = messages(method, Served("tiny", "alpha", (1, 16, 16)))
    with grpc.insecure_channel(fuzzed.target, [("grpc.enable_retries", 0)]) as channel:
        fuzzer = Fuzzer(channel)

        @settings(max_examples=20, suppress_health_check=list(HealthCheck))
        @given(st.lists(one, min_size=1, max_size=10))
        def sent(together: list[bytes]) -> None:
            assert fuzzer.send(method, together) == set()

        sent()
    assert fuzzer.fuzzed.read == fuzzer.fuzzed.messages


@pytest.mark.slow
@pytest.mark.timeout(1300)
@pytest.mark.parametrize(
    "scenario",
    ["rolling_restart", "kill", "hot_swap", "clock_jump", "disk_full", "descriptors",
     "idle_connections", "slow_readers", "fuzz"],
)  # fmt: skip
def test_what_make_chaos_tries_holds(scenario: str) -> None:
    command = [sys.executable, "-m", "benchmarks.chaos", "--only", scenario]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if "not all tried" in done.stdout:
        pytest.skip(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
