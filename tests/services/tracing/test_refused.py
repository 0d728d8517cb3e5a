"""A gateway that lets only some in: whose context it heeds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest

from gateway.security.identities import line_of
from gateway.security.tokens import new_token
from protos.compofa.v1 import gateway_pb2
from tests.redis_server import wait_until
from tests.services.tracing.conftest import WITHIN_S, Caller, lines
from tests.services.tracing.test_requests import openmetrics

if TYPE_CHECKING:
    from tests.services.conftest import Connect, Start
    from tests.services.tracing.receiver import Receiver


def test_who_may_not_call_cannot_have_spans_sent(
    start: Start,
    connect: Connect,
    receiver: Receiver,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    token, file = new_token("infers"), tmp_path / "tokens"
    file.write_text(line_of("infers", token, ["infer"]))
    endpoint = ("--trace-endpoint", receiver.endpoint, "--trace-sample", "0")
    gateway = start("--tokens", str(file), "--max-rate", "1", "--max-burst", "2", *endpoint)
    stub = connect(gateway.target).stub
    shown = ("authorization", f"Bearer {token}")
    select = gateway_pb2.SelectSubnetRequest(device_class="alpha")
    fetch = gateway_pb2.FetchSubnetRequest(device_class="alpha")

    def refused(name: str, *metadata: tuple[str, str]) -> str:
        """The status of a call that its caller traces, and of which nothing is sent."""
        caller = Caller.new()
        given = (*caller.metadata, ("x-request-id", name), *metadata)
        with pytest.raises(grpc.RpcError) as caught:
            list(stub.FetchSubnet(fetch, metadata=given))
        wait_until(lambda: len(lines(gateway, name)) == 1, WITHIN_S)
        (line,) = lines(gateway, name)
        assert (line["trace_id"], line.get("span_id")) == (caller.trace_id, None)
        assert caller.trace_id not in openmetrics(gateway)
        error: grpc.Call = caught.value  # type: ignore[assignment] # a call as well
        return str(error.code().name)

    strangers = [refused(f"stranger-{number}") for number in range(4)]
    assert strangers[:2] == ["UNAUTHENTICATED"] * 2
    assert "RESOURCE_EXHAUSTED" in strangers
    assert refused("no-right", shown) == "PERMISSION_DENIED"
    assert {line["level"] for line in lines(gateway, "stranger-3")} == {"info"}
    known = Caller.new()
    stub.SelectSubnet(select, metadata=(*known.metadata, shown))
    receiver.trace(known.trace_id, 1)
    assert gateway.metric("compofa_trace_spans_made_total") == 1
