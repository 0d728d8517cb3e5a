"""A process that has tracing set up, and our clients within it: one trace as far as the engine."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from gateway.client import CallError, Client, Constraints
from tests.redis_server import wait_until
from tests.services.test_client import png
from tests.services.tracing.conftest import WITHIN_S
from tests.services.tracing.receiver import CLIENT, ERROR, OK, SERVER, Received, Receiver

if TYPE_CHECKING:
    from tests.services.conftest import GatewayProcess

SERVICE = "compofa.v1.SubnetGateway"

TRACED_CALLER = """
import asyncio, sys
from pathlib import Path
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from gateway.async_client import AsyncClient
from gateway.client import Client, Constraints

target, endpoint, image = sys.argv[1], sys.argv[2], Path(sys.argv[3]).read_bytes()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
trace.set_tracer_provider(provider)

def plain(asked):
    with Client(target, asked) as client:
        client.infer(image)

async def in_a_loop(asked):
    async with AsyncClient(target, asked) as client:
        await client.infer(image)

def stream(asked):
    with Client(target, asked) as client:
        assert len(list(client.infer_stream([image, image]))) == 2

def refused(asked):
    try:
        plain(Constraints("nobody"))
    except ValueError as error:
        assert "NOT_FOUND" in str(error)

for call in (plain, lambda asked: asyncio.run(in_a_loop(asked)), stream, refused):
    with provider.get_tracer("app").start_as_current_span("app") as span:
        call(Constraints("alpha", latency_budget_ms=1000.0))
    print(format(span.get_span_context().trace_id, "032x"))
provider.shutdown()
"""


@pytest.fixture(scope="module")
def called(
    traced: GatewayProcess, receiver: Receiver, tmp_path_factory: pytest.TempPathFactory
) -> list[str]:
    """The traces of a process with tracing set up: a call, one in an event loop, a stream of two
    images, and a call that is refused."""
    image = tmp_path_factory.mktemp("caller") / "image.png"
    image.write_bytes(png())
    command = [sys.executable, "-c", TRACED_CALLER, traced.target, receiver.endpoint, str(image)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def by_name(spans: list[Received]) -> dict[str, Received]:
    """By the last part of their names; client and server share one."""
    return {span.name.rpartition("/")[2]: span for span in spans}


def test_a_call_is_one_trace_from_the_client_to_the_engine(
    called: list[str], receiver: Receiver
) -> None:
    for trace_id in called[:2]:
        spans = receiver.trace(trace_id, 6)
        (server,) = (span for span in spans if span.span.kind == SERVER)
        (client,) = (span for span in spans if span.span.kind == CLIENT)
        named = by_name(spans)
        assert server.name == client.name == f"{SERVICE}/Infer"
        assert client.parent == named["app"].id
        assert server.parent == client.id
        assert named["queue"].parent == named["batch"].parent == server.id
        assert named["engine"].parent == named["batch"].id
        assert named["batch"].links == [server.id]
        assert named["queue"].links == [named["batch"].id]
        assert client.ms >= server.ms >= named["engine"].ms > 0
        assert named["batch"].ms >= named["engine"].ms
        assert {span.span.status.code for span in spans} == {OK}
        for span in (server, client):
            assert span["compofa.device_class"] == "alpha"
            assert span["compofa.latency_budget_ms"] == 1000.0
            assert span["compofa.subnet"] == named["engine"]["compofa.subnet"]
            assert span["compofa.predicted_latency_ms"] > 0
            assert span["compofa.degraded"] is False
            assert span["rpc.response.status_code"] == "OK"
        assert server["compofa.batch_size"] == named["batch"]["compofa.batch_size"] == 1
        assert named["batch"]["compofa.batch_requests"] == 1
        assert server["compofa.compute_ms"] == named["engine"]["compofa.compute_ms"]
        assert server.resource["service.name"] == "compofa-gateway"
        assert server.resource["compofa.artifact"] == "tiny"


def test_a_client_s_stream_is_one_span_and_its_messages_are_within(
    called: list[str], receiver: Receiver
) -> None:
    def messages() -> list[Received]:
        return [span for span in receiver.of_trace(called[2]) if span.span.kind == SERVER]

    wait_until(lambda: len(messages()) == 2, WITHIN_S)
    (client,) = (span for span in receiver.of_trace(called[2]) if span.span.kind == CLIENT)
    assert client.name == f"{SERVICE}/InferStream"
    assert [span.parent for span in messages()] == [client.id] * 2


def test_a_client_s_error_is_its_span_s(called: list[str], receiver: Receiver) -> None:
    spans = receiver.trace(called[3], 3)
    client = next(span for span in spans if span.span.kind == CLIENT)
    assert client.span.status.code == ERROR
    assert client["error.type"] == "NOT_FOUND"


def test_a_client_without_tracing_is_answered_as_ever(traced: GatewayProcess) -> None:
    with Client(traced.target, Constraints("alpha")) as client:
        assert client.infer(png()).subnet
        with pytest.raises(CallError, match="NOT_FOUND"):
            client.infer(png(), Constraints("nobody"))
