"""A gateway that traces, the receiver that it sends to, and callers' contexts."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from protos.compofa.v1 import gateway_pb2
from tests.services.conftest import running
from tests.services.tracing.receiver import Receiver, receiving

if TYPE_CHECKING:
    from tests.services.conftest import GatewayProcess, MakeTensor

WITHIN_S = 15.0


@pytest.fixture(scope="session")
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture(scope="session")
def traced(
    artifact_folder: Path, tmp_path_factory: pytest.TempPathFactory, receiver: Receiver
) -> Iterator[GatewayProcess]:
    """One gateway for all tests that leave it running; it sends spans at once."""
    folder = tmp_path_factory.mktemp("traced")
    options = ("--trace-endpoint", receiver.endpoint, "--workers=1", "--max-batch=256")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
        with running(artifact_folder, folder, *options) as gateway:
            yield gateway


@dataclass(frozen=True)
class Caller:
    """A caller's trace and span; `sampled` is what it has decided."""

    trace_id: str
    span_id: str
    sampled: bool = True

    @classmethod
    def new(cls, *, sampled: bool = True) -> Caller:
        return cls(secrets.token_hex(16), secrets.token_hex(8), sampled)

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        flags = "01" if self.sampled else "00"
        return (("traceparent", f"00-{self.trace_id}-{self.span_id}-{flags}"),)


def infer_request(make: MakeTensor, /, **fields: Any) -> gateway_pb2.InferRequest:
    return gateway_pb2.InferRequest(**{"device_class": "alpha", "tensor": make(), **fields})


def lines(gateway: GatewayProcess, request_id: str) -> list[dict[str, object]]:
    """Of a request, in the gateway's log."""
    return [line for line in gateway.log() if line.get("request_id") == request_id]
