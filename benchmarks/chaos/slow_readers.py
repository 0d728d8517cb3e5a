"""Clients that send and do not read: what they hold is bounded, and others are answered."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import grpc
import numpy as np
from grpc_health.v1 import health_pb2, health_pb2_grpc

from benchmarks.chaos.connections import unread_call
from benchmarks.chaos.load import (
    ARTIFACT,
    REFERENCE,
    Load,
    answers_of,
    candidates,
)
from benchmarks.chaos.outcome import Outcome
from gateway.client_values import infer_request
from gateway.select import select
from protos.compofa.v1 import gateway_pb2, gateway_pb2_grpc
from tests.services.conftest import GatewayProcess, running
from tests.services.fetching import fill

STREAMS = 8
ROWS = 32
ANSWERS = 300
FETCHES = 4
EXPORT_BYTES = 64 * 2**20
MIB = 2**20
MOST_STREAM_MIB = 32.0  # 64 requests of 100 KB at once, and what gRPC has read ahead
MOST_FETCH_MIB = 4.0
SETTLED_S, STALLS_WITHIN_S = 3.0, 60.0
GIVEN_UP_WITHIN_S = 90.0
TOLD_WITHIN_S, ENDS_WITHIN_S = 10.0, 45.0
ANSWERED = "compofa_requests_total"
WATCH = "/grpc.health.v1.Health/Watch"


def run(folder: Path) -> Iterator[Outcome]:
    cache = folder / "exports"
    subnet = _fill(cache)
    options = ("--export-cache", str(cache), "--max-fetches", str(FETCHES), "--no-request-logs")
    with running(ARTIFACT, folder, *options, within_s=120) as gateway:
        gateway.until_warm()
        alone = asyncio.run(answers_of(gateway.target, ANSWERS))
        yield from _streams(gateway, alone)
        yield from _fetches(gateway, alone, subnet)
        yield from _watches(gateway)


def _streams(gateway: GatewayProcess, alone: Load) -> Iterator[Outcome]:
    """InferStream: each sends without end and reads the first answer only."""
    x = np.random.default_rng(0).standard_normal((ROWS, 1, 28, 28), np.float32)
    before, others = gateway.resident_bytes(), gateway.metric(ANSWERED)
    with ExitStack() as stack:
        for _ in range(STREAMS):
            stub = _stub(gateway, stack)
            requests = itertools.repeat(infer_request(x, REFERENCE))
            stream = stub.InferStream(requests)
            stack.callback(stream.cancel)
            next(stream)
        answered = (_stalled(gateway) - others) / STREAMS
        each = (gateway.resident_bytes() - before) / STREAMS / MIB
        yield Outcome(
            f"{STREAMS} InferStreams that read one answer and send for ever",
            f"{answered:.0f} answers ahead and {each:.1f} MiB of memory each, then no more",
            each < MOST_STREAM_MIB,
        )
        yield _others(gateway, alone)


def _fetches(gateway: GatewayProcess, alone: Load, subnet: str) -> Iterator[Outcome]:
    """FetchSubnet of a large export: each reads the header only."""
    request = gateway_pb2.FetchSubnetRequest(device_class=REFERENCE.device_class, format="torch")
    before = gateway.resident_bytes()
    with ExitStack() as stack:
        began = time.monotonic()
        streams = []
        for _ in range(FETCHES):
            stream = _stub(gateway, stack).FetchSubnet(request, timeout=300)
            stack.callback(stream.cancel)
            assert next(stream).header.subnet == subnet
            streams.append(stream)
        each = (_settled(gateway) - before) / FETCHES / MIB
        yield Outcome(
            f"{FETCHES} FetchSubnets of {EXPORT_BYTES // MIB} MiB that read the header only",
            f"{each:.1f} MiB of memory each, then no more",
            each < MOST_FETCH_MIB,
        )
        yield _others(gateway, alone)
        code = _code(_stub(gateway, stack), request)
        yield Outcome("one more FetchSubnet", code, code == "RESOURCE_EXHAUSTED")
        while (code := _code(_stub(gateway, stack), request)) != "OK":
            if time.monotonic() - began > GIVEN_UP_WITHIN_S:
                break
            time.sleep(1)
        happened = f"{code} after {time.monotonic() - began:.0f} s, in the place of one given up"
        yield Outcome("the same again and again", happened, code == "OK")


def _watches(gateway: GatewayProcess) -> Iterator[Outcome]:
    """Health.Watch whose answers are not let in: others are told, and the gateway ends."""
    asked = health_pb2.HealthCheckRequest(service="compofa.v1.SubnetGateway")
    with ExitStack() as stack:
        for _ in range(STREAMS):
            unread_call(gateway.port, WATCH, asked.SerializeToString(), stack)
        time.sleep(1)
        health = health_pb2_grpc.HealthStub(_channel(gateway, stack))
        seen = []
        try:
            for response in health.Watch(asked, timeout=TOLD_WITHIN_S):
                seen.append(health_pb2.HealthCheckResponse.ServingStatus.Name(response.status))
                if len(seen) == 1:
                    gateway.ask_to_stop()
        except grpc.RpcError as error:
            seen.append(error.code().name)
        yield Outcome(
            f"another Watch beside {STREAMS} that let nothing in, and a drain",
            ", ".join(seen),
            seen[:2] == ["SERVING", "NOT_SERVING"],
        )
        status = gateway.process.wait(ENDS_WITHIN_S)
        yield Outcome("the drain", f"ends with exit status {status}", status == 0)


def _fill(cache: Path) -> str:
    """Put a made-up export into a cache, of the subnet that the reference gets: which one."""
    subnet = select(candidates(), REFERENCE).subnet
    fill(ARTIFACT, cache, "torch", {"net.pt2": bytes(EXPORT_BYTES)}, subnet)
    return subnet


def _stub(gateway: GatewayProcess, stack: ExitStack) -> gateway_pb2_grpc.SubnetGatewayStub:
    return gateway_pb2_grpc.SubnetGatewayStub(_channel(gateway, stack))


def _channel(gateway: GatewayProcess, stack: ExitStack) -> grpc.Channel:
    """A connection of its own."""
    options = [
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.enable_retries", 0),
        ("grpc.http2.lookahead_bytes", 4096),  # little is taken in for whoever does not read
        ("grpc.http2.bdp_probe", 0),
    ]
    return stack.enter_context(grpc.insecure_channel(gateway.target, options))


def _code(stub: gateway_pb2_grpc.SubnetGatewayStub, request: gateway_pb2.FetchSubnetRequest) -> str:
    """What a fetch of the whole ends in."""
    try:
        for _ in stub.FetchSubnet(request, timeout=60):
            pass
    except grpc.RpcError as error:
        return str(error.code().name)
    return "OK"


def _stalled(gateway: GatewayProcess) -> float:
    """Answers given, once no more are. Raises `TimeoutError`."""
    began, before, since = time.monotonic(), 0.0, time.monotonic()
    while time.monotonic() - since < SETTLED_S:
        if time.monotonic() - began > STALLS_WITHIN_S:
            raise TimeoutError("streams that nobody reads are answered on and on")
        time.sleep(0.2)
        now = gateway.metric(ANSWERED)
        if now != before:
            before, since = now, time.monotonic()
    return before


def _settled(gateway: GatewayProcess) -> int:
    """Resident bytes, once they have stopped to grow."""
    most, since = gateway.resident_bytes(), time.monotonic()
    while time.monotonic() - since < SETTLED_S:
        time.sleep(0.1)
        now = gateway.resident_bytes()
        if now > most + MIB:
            most, since = now, time.monotonic()
    return most


def _others(gateway: GatewayProcess, alone: Load) -> Outcome:
    load = asyncio.run(answers_of(gateway.target, ANSWERS))
    happened = (
        f"{load.in_words}; median {load.percentile_ms(50):.1f} ms, "
        f"{alone.percentile_ms(50):.1f} ms before"
    )
    return Outcome("others meanwhile", happened, not load.failures)
