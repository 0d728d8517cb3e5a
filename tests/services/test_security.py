"""A real gateway that lets only some in: TLS, tokens, certificates, floods, files that change."""

from __future__ import annotations

import functools
import io
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest
from google.protobuf import empty_pb2
from grpc import StatusCode
from grpc_health.v1 import health_pb2, health_pb2_grpc
from PIL import Image

from gateway.async_client import AsyncClient
from gateway.client import CallError, Client, Constraints, Credentials
from gateway.security.identities import line_of
from gateway.security.tokens import new_token
from protos.compofa.v1 import gateway_pb2, gateway_pb2_grpc
from protos.inference import service_pb2, service_pb2_grpc
from protos.torchserve import inference_pb2, inference_pb2_grpc
from tests.certificates import Authority
from tests.services.asking import asking
from tests.services.conftest import running

if TYPE_CHECKING:
    from tests.services.conftest import GatewayProcess, Start

ALPHA = Constraints("alpha")
MOST_CONNECTIONS = 30
MOST_REPORTS = 200


@dataclass
class Secured:
    """A gateway with TLS and tokens, and what its clients need."""

    gateway: GatewayProcess
    authority: Authority
    tokens: dict[str, str]

    @property
    def target(self) -> str:
        return f"localhost:{self.gateway.port}"

    def ready(self) -> dict[str, Any]:
        return next(line for line in self.gateway.log() if line["event"] == "ready")

    def credentials(self, name: str | None = None) -> Credentials:
        token = None if name is None else self.tokens[name]
        return Credentials(ca=self.authority.ca, token=token)

    @contextmanager
    def channel(self) -> Iterator[grpc.Channel]:
        """Of a stranger that trusts the gateway."""
        trusting = grpc.ssl_channel_credentials(self.authority.ca.read_bytes())
        with grpc.secure_channel(self.target, trusting, [("grpc.enable_retries", 0)]) as channel:
            yield channel


@pytest.fixture(scope="module")
def secured(artifact_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    folder = tmp_path_factory.mktemp("secured")
    authority = Authority(folder / "authority")
    own = authority.issue("localhost")
    rights: dict[str, list[Any]] = {"all": ["infer", "fetch", "report"], "infers": ["infer"]}
    tokens = {name: new_token(name) for name in rights}
    file = folder / "tokens"
    file.write_text("\n".join(line_of(name, tokens[name], rights[name]) for name in rights))
    options = ["--tls-cert", own.cert, "--tls-key", own.key, "--tokens", file, "--learn-latency"]
    options += ["--health-port", 0, "--max-connections", MOST_CONNECTIONS]
    options += ["--learn-max-stream-reports", MOST_REPORTS]
    with running(artifact_folder, folder, *map(str, options)) as gateway:
        yield Secured(gateway, authority, tokens)


def png() -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.zeros((20, 20), np.uint8)).save(file, "PNG")
    return file.getvalue()


def code_of(call: Any) -> StatusCode:
    """What a call ends in, made now."""
    try:
        result = call()
        if hasattr(result, "__next__"):
            list(result)
    except grpc.RpcError as error:
        code: StatusCode = error.code()
        return code
    return StatusCode.OK


def test_our_client_is_known_by_its_token(secured: Secured) -> None:
    with Client(secured.target, ALPHA, credentials=secured.credentials("infers")) as client:
        assert client.infer(png()).subnet == client.select().subnet
        assert len(list(client.infer_stream([png(), png()]))) == 2
        assert len(client.device_classes()) == 2
        with pytest.raises(CallError, match="PERMISSION_DENIED: 'infers' may not report; it may"):
            client.report_latency("alpha", [("d2-2@12", 1.0)])
    requests = [line for line in secured.gateway.log() if line["event"] == "request"]
    assert {line["identity"] for line in requests if line["code"] == "OK"} == {"infers"}


async def test_so_is_the_one_for_asyncio(secured: Secured) -> None:
    credentials = secured.credentials("all")
    async with AsyncClient(secured.target, ALPHA, credentials=credentials) as client:
        assert (await client.infer(png())).subnet == (await client.select()).subnet
        assert (await client.report_latency("alpha", [("d2-2@12", 1.0)])).taken == 1
    stranger = secured.credentials()
    async with AsyncClient(secured.target, ALPHA, credentials=stranger) as client:
        with pytest.raises(CallError, match="UNAUTHENTICATED: authorization: expected 'Bearer '"):
            await client.infer(png())


def test_a_fetch_takes_its_right(secured: Secured, tmp_path: Path) -> None:
    for name, code in (("infers", "PERMISSION_DENIED"), ("all", "INVALID_ARGUMENT")):
        with (
            Client(secured.target, ALPHA, credentials=secured.credentials(name)) as client,
            pytest.raises(CallError, match=code),
        ):
            client.fetch(tmp_path / "net", format="nonsense")


def test_a_stranger_gets_nothing_by_any_protocol_but_whether_it_lives(secured: Secured) -> None:
    denied, infer = StatusCode.UNAUTHENTICATED, gateway_pb2.InferRequest(device_class="alpha")
    with secured.channel() as channel:
        native = gateway_pb2_grpc.SubnetGatewayStub(channel)
        open_inference: Any = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        torchserve: Any = inference_pb2_grpc.InferenceAPIsServiceStub(channel)
        for ask in (
            lambda: native.Infer(infer),
            lambda: native.InferStream(iter([infer])),
            lambda: native.SelectSubnet(gateway_pb2.SelectSubnetRequest(device_class="alpha")),
            lambda: native.FetchSubnet(gateway_pb2.FetchSubnetRequest(device_class="alpha")),
            lambda: native.ListDeviceClasses(gateway_pb2.ListDeviceClassesRequest()),
            lambda: native.ReportLatency(iter([gateway_pb2.ReportLatencyRequest()])),
            lambda: open_inference.ModelInfer(service_pb2.ModelInferRequest()),
            lambda: open_inference.ModelMetadata(service_pb2.ModelMetadataRequest(name="tiny")),
            lambda: torchserve.Predictions(inference_pb2.PredictionsRequest()),
        ):
            assert code_of(ask) == denied
        assert open_inference.ServerLive(service_pb2.ServerLiveRequest()).live
        assert "Healthy" in torchserve.Ping(empty_pb2.Empty()).health
        health: Any = health_pb2_grpc.HealthStub(channel)
        assert health.Check(health_pb2.HealthCheckRequest()).status == 1


def test_plain_text_and_other_authorities_do_not_get_through(
    secured: Secured, tmp_path: Path
) -> None:
    other = Authority(tmp_path / "other")
    for credentials in (Credentials(), Credentials(ca=other.ca)):
        with (
            Client(secured.target, ALPHA, deadline_s=5, credentials=credentials) as client,
            pytest.raises(CallError, match="UNAVAILABLE"),
        ):
            client.select()
    with Client(secured.target, ALPHA, credentials=secured.credentials("infers")) as client:
        assert client.select().subnet
    assert secured.gateway.log()  # JSON still, whatever gRPC's core makes of failed handshakes


def test_the_health_port_answers_health_and_nothing_else(secured: Secured) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{secured.ready()['health_port']}") as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        service = "compofa.v1.SubnetGateway"
        assert health.Check(health_pb2.HealthCheckRequest(service=service)).status == 1
        native = gateway_pb2_grpc.SubnetGatewayStub(channel)
        request = gateway_pb2.ListDeviceClassesRequest()
        assert code_of(lambda: native.ListDeviceClasses(request)) == StatusCode.UNIMPLEMENTED


def test_floods_of_headers_and_messages_are_turned_away_and_the_gateway_serves_on(
    secured: Secured,
) -> None:
    with secured.channel() as channel:
        native = gateway_pb2_grpc.SubnetGatewayStub(channel)
        request = gateway_pb2.ListDeviceClassesRequest()
        many = tuple((f"x-{number}", "a") for number in range(2000))
        for flood in ((("x-flood", "a" * 1_000_000),), many):
            ask = functools.partial(native.ListDeviceClasses, request, metadata=flood)
            assert code_of(ask) == StatusCode.RESOURCE_EXHAUSTED
        before = secured.gateway.resident_bytes()
        large = gateway_pb2.InferRequest(device_class="alpha", image=bytes(100_000_000))
        for _ in range(3):
            assert code_of(lambda: native.Infer(large)) == StatusCode.UNAUTHENTICATED
        assert secured.gateway.resident_bytes() - before < 50_000_000
    with Client(secured.target, ALPHA, credentials=secured.credentials("infers")) as client:
        with pytest.raises(CallError, match="INVALID_ARGUMENT"):
            client.infer(bytes(20_000_000))
        assert client.infer(png()).label


def test_streams_without_end_and_messages_without_measure_are_ended(secured: Secured) -> None:
    with Client(secured.target, ALPHA, credentials=secured.credentials("all")) as client:
        endless = (("d2-2@12", 1.0) for _ in range(10_000_000))
        reported = client.report_latency("alpha", endless)
        assert reported.taken + sum(reported.refused.values()) == MOST_REPORTS
        with pytest.raises(CallError, match="INVALID_ARGUMENT: request: expected at most 4096"):
            client.report_latency("alpha", [("x" * 5000, 1.0)])
        larger = (bytes(20_000_000) for _ in range(1000))
        with pytest.raises(CallError, match="INVALID_ARGUMENT: request: expected at most"):
            list(client.infer_stream(larger))
        assert client.infer(png()).label


def test_connections_that_say_nothing_take_no_more_places_than_there_are(
    secured: Secured,
) -> None:
    with ExitStack() as stack:

        def say_nothing() -> None:
            address = ("127.0.0.1", secured.gateway.port)
            stack.enter_context(socket.create_connection(address, timeout=5))

        for _ in range(MOST_CONNECTIONS + 10):
            say_nothing()
        health: Any = health_pb2_grpc.HealthStub(
            stack.enter_context(
                grpc.insecure_channel(f"127.0.0.1:{secured.ready()['health_port']}")
            )
        )
        assert health.Check(health_pb2.HealthCheckRequest()).status == 1
        assert "compofa_requests" in secured.gateway.http("/metrics")

        def late_is_refused() -> bool:
            with secured.channel() as channel:
                late: Any = health_pb2_grpc.HealthStub(channel)
                asked = health_pb2.HealthCheckRequest()
                return code_of(lambda: late.Check(asked, timeout=5)) == StatusCode.UNAVAILABLE

        # Clients of earlier tests may leave only now: each place that they free is taken as well.
        taken = 0
        while not late_is_refused():
            say_nothing()
            taken += 1
            assert taken < MOST_CONNECTIONS
    with Client(secured.target, ALPHA, credentials=secured.credentials("infers")) as client:
        assert client.select().subnet


def test_neither_log_nor_metrics_hold_a_secret(secured: Secured) -> None:
    scraped = secured.gateway.http("/metrics")
    log = secured.gateway.stderr.read_text()
    for token in secured.tokens.values():
        secret = token.split("_", 2)[2]  # which may hold that sign itself
        assert secret not in scraped + log
    assert "sha256:" not in scraped + log
    assert "PRIVATE KEY" not in scraped + log
    assert secured.gateway.metric("compofa_tls_certificate_expires_timestamp_seconds") > 1.9e9
    assert secured.gateway.metric("compofa_requests_total", code="UNAUTHENTICATED") > 0


def test_commands_take_credentials_from_files_and_the_environment(
    secured: Secured, tmp_path: Path
) -> None:
    image, token = tmp_path / "image.png", tmp_path / "token"
    image.write_bytes(png())
    token.write_text(secured.tokens["infers"] + "\n")
    command = [sys.executable, "-m", "gateway", "infer", str(image), "--device-class", "alpha"]
    command += ["--target", secured.target, "--json"]
    own = {"COMPOFA_TLS_CA": str(secured.authority.ca)}
    done = _run([*command, "--token-file", str(token)], own)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)[0]["subnet"]
    done = _run(command, own | {"COMPOFA_TOKEN": new_token("infers")})
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith("UNAUTHENTICATED: authorization: the token is not known\n")


def test_what_cannot_be_served_by_is_one_line_and_status_two(
    artifact_folder: Path, secured: Secured, tmp_path: Path
) -> None:
    authority, other = secured.authority, tmp_path / "other.pem"
    own = authority.issue("own.local")
    other.write_text("junk")
    tokens = tmp_path / "tokens"
    tokens.write_text(secured.tokens["all"] + "\n")
    for options, said in (
        (["--tls-cert", own.cert], "tls_cert: expected tls_key beside it, its private key in PEM"),
        (["--tls-cert", own.cert, "--tls-key", other],
         f"tls: {other}: expected a private key in PEM"),
        (["--tokens", tokens], f"tokens: {tokens}: line 1: expected NAME, then"),
        (["--tokens", tokens, "--host", "0.0.0.0"], "tokens: expected tls_cert and tls_key, for"),
    ):  # fmt: skip
        command = [sys.executable, "-m", "gateway", "serve", str(artifact_folder)]
        done = _run([*command, *map(str, options)], {})
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith(f"compofa: {said}")
        assert done.stderr.count("\n") == 1
        assert secured.tokens["all"] not in done.stderr


def test_a_gateway_behind_a_forwarded_port_is_known_by_its_own_name(
    start: Start, tmp_path: Path
) -> None:
    authority = Authority(tmp_path / "authority")
    own = authority.issue("gateway.nets.svc")
    gateway = start("--tls-cert", str(own.cert), "--tls-key", str(own.key))
    target = f"127.0.0.1:{gateway.port}"
    named = Credentials(ca=authority.ca, server_name="gateway.nets.svc")
    with Client(target, ALPHA, credentials=named) as client:
        assert client.select().subnet
    for other in (None, "gateway.other.svc"):
        unlike = Credentials(ca=authority.ca, server_name=other)
        with (
            Client(target, ALPHA, deadline_s=5, credentials=unlike) as client,
            pytest.raises(CallError, match="UNAVAILABLE"),
        ):
            client.select()


def test_a_certificate_replaced_under_load_fails_no_request(start: Start, tmp_path: Path) -> None:
    """Every request on a connection of its own, while the files go from one authority to another
    and back, certificate first and key a moment later; a store's password shows nowhere."""
    first, second = Authority(tmp_path / "first"), Authority(tmp_path / "second")
    own, both = first.issue("localhost"), tmp_path / "both.pem"
    both.write_bytes(first.ca.read_bytes() + second.ca.read_bytes())
    store = "redis://:s3cret@127.0.0.1:1/0"
    gateway = start("--tls-cert", str(own.cert), "--tls-key", str(own.key), "--store", store,
                    "--max-connection-age-s", "1")  # fmt: skip
    target = f"localhost:{gateway.port}"

    def ask() -> None:
        alone = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
        trusting = grpc.ssl_channel_credentials(both.read_bytes())
        with grpc.secure_channel(target, trusting, alone) as channel:
            stub = gateway_pb2_grpc.SubnetGatewayStub(channel)
            stub.SelectSubnet(gateway_pb2.SelectSubnetRequest(device_class="alpha"), timeout=30)

    with (
        Client(target, ALPHA, credentials=Credentials(ca=both)) as kept,
        asking(ask) as codes,
        asking(ask),
    ):
        for authority in (second, first, second):
            fresh = authority.issue("fresh")
            served = authority.issue("localhost", into=fresh)
            own.cert.write_bytes(served.cert.read_bytes())
            time.sleep(0.2)
            own.key.write_bytes(served.key.read_bytes())
            until = time.monotonic() + 30
            while not _is_served_by(target, authority):
                assert time.monotonic() < until
                time.sleep(0.1)
            assert kept.select().subnet
    assert set(codes) == {StatusCode.OK}
    assert len(codes) > 10
    assert not _is_served_by(target, first)
    log = gateway.stderr.read_text()
    assert "s3cret" not in log
    assert "127.0.0.1:1" in log
    assert '"event": "read again"' in log


def _is_served_by(target: str, authority: Authority) -> bool:
    credentials = Credentials(ca=authority.ca)
    with Client(target, ALPHA, deadline_s=5, credentials=credentials) as client:
        try:
            return bool(client.select().subnet)
        except CallError:
            return False


def test_connections_are_renewed_and_no_request_fails(start: Start) -> None:
    """Beside it, metrics are where they are told to be and nowhere else."""
    options = ["--max-connection-age-s", "1", "--max-connection-age-grace-s", "5"]
    gateway = start(*options, "--metrics-host", "127.0.0.2")
    with socket.create_connection(("127.0.0.2", gateway.metrics_port), timeout=5):
        pass
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", gateway.metrics_port), timeout=5)
    with Client(gateway.target, ALPHA) as client:
        until = time.monotonic() + 5
        while time.monotonic() < until:
            assert client.select().subnet
    peers = {line["peer"] for line in gateway.log() if line["event"] == "request"}
    assert len(peers) >= 3


def _run(command: list[str], own: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, capture_output=True, text=True, timeout=100, check=False, env=os.environ | own
    )
