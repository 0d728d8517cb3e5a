import io
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from gateway import logs
from gateway.calls import Call, Trace
from gateway.errors import GatewayError, TooFast, TooManyStrangers, Unauthenticated
from gateway.request import Answer, Selection
from tests.gateway.tracing.spans import Kept


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """What the logs of this process are written to."""
    text = io.StringIO()
    with undone():
        logs.configure(text)
        yield text


@contextmanager
def undone() -> Iterator[None]:
    """What is done to this process's logs within is put back."""
    root = logging.getLogger()
    handlers, level, gateway_level = (
        root.handlers[:],
        root.level,
        logging.getLogger("gateway").level,
    )
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        logging.getLogger("gateway").setLevel(gateway_level)


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_request_is_one_line_of_json(stream: io.StringIO) -> None:
    selection = Selection("d2-3@12", accuracy=0.75, latency_ms=1.5, degraded=False)
    call = Call("Infer", "ipv4:127.0.0.1:5", "alpha", selection, seconds=0.0025, request_id="r1")
    logs.log_call(call)
    (line,) = lines(stream)
    time = line.pop("time")
    assert isinstance(time, str)
    assert time.endswith("+00:00")
    assert line == {
        "level": "info",
        "event": "request",
        "request_id": "r1",
        "method": "Infer",
        "device_class": "alpha",
        "subnet": "d2-3@12",
        "code": "OK",
        "ms": 2.5,
        "peer": "ipv4:127.0.0.1:5",
    }


def test_an_answer_says_what_it_took(stream: io.StringIO) -> None:
    selection = Selection("d2-3@12", accuracy=0.75, latency_ms=1.5, degraded=True)
    call = Call("InferStream", "peer", "alpha", request_id="r1", message_id="m7")
    call.answered(Answer(np.zeros((1, 10), np.float32), (0,), selection, 2.5, 0.25, batch=4))
    logs.log_call(call)
    (line,) = lines(stream)
    assert (line["request_id"], line["message_id"]) == ("r1", "m7")
    assert (line["queue_ms"], line["compute_ms"], line["predicted_ms"]) == (0.25, 2.5, 1.5)
    assert (line["batch"], line["expected_accuracy"], line["degraded"]) == (4, 0.75, True)


def test_requests_are_as_loud_as_their_end(stream: io.StringIO) -> None:
    logs.set_level("warning")
    for code in ("OK", "NOT_FOUND", "CANCELLED", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED"):
        logs.log_call(Call("Infer", "peer", code=code))
    logs.set_level("error")
    for code in ("UNAVAILABLE", "INTERNAL"):
        logs.log_call(Call("Infer", "peer", code=code))
    assert [(line["level"], line["code"]) for line in lines(stream)] == [
        ("warning", "DEADLINE_EXCEEDED"),
        ("warning", "RESOURCE_EXHAUSTED"),
        ("error", "INTERNAL"),
    ]


@pytest.mark.parametrize(
    ("error", "level"),
    [(TooFast(1.0), "warning"), (TooManyStrangers(1.0), "info"), (Unauthenticated(), "info")],
)
def test_strangers_are_nothing_to_be_warned_of(
    stream: io.StringIO, error: GatewayError, level: str
) -> None:
    call = Call("Infer", "peer")
    call.failed(error)
    logs.log_call(call)
    assert [line["level"] for line in lines(stream)] == [level]


def test_the_level_moves_a_step_at_a_time_and_says_where_to(stream: io.StringIO) -> None:
    for change in (logs.say_more, logs.say_more, *(4 * (logs.say_less,))):
        change()
    now = [line["now"] for line in lines(stream) if line["event"] == "log level"]
    assert now == ["debug", "debug", "info", "warning", "error", "error"]
    assert logs.current_level() == "error"


def test_a_gateway_can_be_told_to_begin_with_another_level() -> None:
    text = io.StringIO()
    with undone():
        logs.configure(text, "warning")
        logs.log_event("ready")
        logs.warn("trouble")
    assert [line["event"] for line in lines(text)] == ["trouble"]


def test_a_fetch_says_what_was_sent(stream: io.StringIO) -> None:
    logs.log_call(Call("FetchSubnet", "peer", "alpha", export_format="onnx", sent_bytes=5))
    (line,) = lines(stream)
    assert (line["format"], line["bytes"]) == ("onnx", 5)


def test_values_cannot_make_a_line_long_or_two_lines(stream: io.StringIO) -> None:
    logs.log_call(Call("Infer", "p", "x\n" * 10_000, code="NOT_FOUND", error="no\nclass"))
    (line,) = lines(stream)
    assert line["error"] == "no\nclass"
    assert len(stream.getvalue()) < 1000


def test_a_traceback_stays_in_the_line(stream: io.StringIO) -> None:
    try:
        raise RuntimeError("secret")
    except RuntimeError as error:
        logging.getLogger("gateway.errors").error("internal error", exc_info=error)
    (line,) = lines(stream)
    assert line["event"] == "internal error"
    assert "RuntimeError: secret" in str(line["traceback"])


def test_other_libraries_are_heard_from_warning_on(stream: io.StringIO) -> None:
    logging.getLogger("elsewhere").info("chatter")
    logging.getLogger("elsewhere").warning("trouble")
    logs.log_event("ready", port=1)
    assert [line["event"] for line in lines(stream)] == ["trouble", "ready"]


def test_who_calls_is_in_the_line_where_that_is_known(stream: io.StringIO) -> None:
    logs.log_call(Call("Infer", "ipv4:127.0.0.1:5"))
    logs.log_call(Call("Infer", "ipv4:127.0.0.1:5", identity="edge-7"))
    assert [line.get("identity") for line in lines(stream)] == [None, "edge-7"]


@pytest.mark.parametrize("padding", [0, 170, 178, 190, 8000])
def test_no_line_holds_a_password_wherever_it_is_cut(stream: io.StringIO, padding: int) -> None:
    url = "x" * padding + ' redis://:s3cret@host "redis://host?password=s3cret"'
    logs.warn(url, store=url)
    try:
        raise RuntimeError(url)
    except RuntimeError:
        logging.getLogger("gateway").exception("failed")
    assert "s3c" not in stream.getvalue()
    event, failed = lines(stream)
    assert failed["traceback"]
    assert padding >= 170 or "***@host" in str(event["store"])


def test_a_request_s_line_names_its_trace(stream: io.StringIO) -> None:
    span = Kept().tracer.start_span("request")
    for trace in (None, Trace(span), Trace(span, "ab" * 16), Trace(span, "ab" * 16, "cd" * 8)):
        logs.log_call(Call("Infer", "peer", trace=trace))
    assert [(line.get("trace_id"), line.get("span_id")) for line in lines(stream)] == [
        (None, None),
        (None, None),
        ("ab" * 16, None),
        ("ab" * 16, "cd" * 8),
    ]
