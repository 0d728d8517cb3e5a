import io
import json
import logging
from collections.abc import Iterator

import pytest

from gateway import logs
from gateway.calls import Call
from gateway.request import Selection


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """What the logs of this process are written to, put back afterwards."""
    root = logging.getLogger()
    handlers, level, gateway_level = (
        root.handlers[:],
        root.level,
        logging.getLogger("gateway").level,
    )
    text = io.StringIO()
    logs.configure(text)
    yield text
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.getLogger("gateway").setLevel(gateway_level)


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_request_is_one_line_of_json(stream: io.StringIO) -> None:
    selection = Selection("d2-3@12", accuracy=0.75, latency_ms=1.5, degraded=False)
    logs.log_call(Call("Infer", "ipv4:127.0.0.1:5", "alpha", selection, seconds=0.0025))
    (line,) = lines(stream)
    time = line.pop("time")
    assert isinstance(time, str)
    assert time.endswith("+00:00")
    assert line == {
        "level": "info",
        "event": "request",
        "method": "Infer",
        "device_class": "alpha",
        "subnet": "d2-3@12",
        "code": "OK",
        "ms": 2.5,
        "peer": "ipv4:127.0.0.1:5",
    }


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
