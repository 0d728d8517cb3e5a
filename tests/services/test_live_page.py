"""The live page of a real gateway: its options, and an end that nobody who looks can hold up."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.services.conftest import running

if TYPE_CHECKING:
    from tests.services.conftest import Connect, GatewayProcess, MakeTensor, Start

SERVE = [sys.executable, "-m", "gateway", "serve"]


@pytest.fixture(scope="module")
def shown(
    artifact_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    """One gateway with a page for all tests that leave it running."""
    folder = tmp_path_factory.mktemp("gateway")
    with running(artifact_folder, folder, "--ui", "--ui-port", "0") as started:
        yield started


def port_of(gateway: GatewayProcess) -> int:
    port = gateway.ready["ui_port"]
    assert isinstance(port, int)
    return port


@contextmanager
def events(port: int) -> Iterator[http.client.HTTPResponse]:
    """An open stream."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        connection.request("GET", "/events")
        with connection.getresponse() as response:
            assert response.status == 200
            yield response


def test_grpc_s_answers_are_seen_on_the_page(
    shown: GatewayProcess, connect: Connect, tensor: MakeTensor
) -> None:
    with events(port_of(shown)) as response:
        assert response.readline() == b"event: hello\n"
        answer = connect(shown.target).infer(tensor=tensor())
        for line in response:
            if answer.subnet.encode() in line and b'"rows":[{' in line:
                break


@pytest.mark.parametrize("signals", [1, 2])
def test_open_streams_do_not_hold_the_end_up(start: Start, signals: int) -> None:
    gateway = start("--ui", "--ui-port", "0", "--ui-max-viewers", "20")
    port = port_of(gateway)
    with ExitStack() as stack:
        streams = [stack.enter_context(events(port)) for _ in range(10)]
        for begun in (b"GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", b"POST /answers HT", b""):
            address = ("127.0.0.1", port)
            stack.enter_context(socket.create_connection(address)).sendall(begun)
        time.sleep(0.2)
        for _ in range(signals):
            gateway.ask_to_stop()
        assert gateway.process.wait(timeout=30) == 0
        assert gateway.log()[-1]["event"] == "stopped"
        for stream in streams:  # each ends well, and not in the middle of a chunk
            assert b"event: hello" in stream.read()


def test_an_image_that_is_on_its_way_does_not_either(start: Start) -> None:
    gateway = start("--ui", "--ui-port", "0")
    port = port_of(gateway)
    with socket.create_connection(("127.0.0.1", port)) as slow:
        head = (
            f"POST /answers HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: 1000\r\n"
            f"Origin: http://127.0.0.1:{port}\r\nContent-Type: application/octet-stream\r\n\r\n"
        )
        slow.sendall(head.encode() + b"x" * 10)
        time.sleep(0.2)
        gateway.ask_to_stop()
        assert gateway.process.wait(timeout=30) == 0


POST = b"POST /answers HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\n"
BODY = POST + b"Content-Type: image/png\r\n"


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 20_000 + b"\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 500 + b"\r\n", 400),
        (b"GET / HTTP/1.0\r\n\r\n", 403),
        (b"GET /../site.py HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
        (b"GET /%2e%2e/site.py HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
        (b"DELETE / HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\n\r\n", 405),
        (BODY + b"Transfer-Encoding: chunked\r\n\r\nZZ\r\nxx\r\n", 400),
        (BODY + b"Content-Length: 99999999999\r\n\r\nZZ", 400),
        (BODY + b"Content-Length: 100\r\n\r\nZZ", None),
    ],
)
def test_what_a_stranger_sends_is_answered_and_not_worth_a_line(
    shown: GatewayProcess, sent: bytes, status: int | None
) -> None:
    before = len(shown.log())
    with socket.create_connection(("127.0.0.1", port_of(shown)), timeout=10) as connection:
        connection.sendall(sent)
        if status is None:
            time.sleep(0.2)  # leaves once it is waited for
        else:
            answer = connection.recv(100)
            assert answer.split()[1] == b"%d" % status
    with events(port_of(shown)) as response:  # it lives
        assert response.readline() == b"event: hello\n"
    time.sleep(0.1)
    assert shown.log()[before:] == []


def test_without_the_option_there_is_no_page(gateway: GatewayProcess) -> None:
    assert "ui_port" not in gateway.ready
    maps = Path(f"/proc/{gateway.process.pid}/maps").read_text()
    assert "aiohttp" not in maps  # whose parser is a shared object


def test_a_taken_port_is_one_clear_line(artifact_folder: Path, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        command = [*SERVE, str(artifact_folder), "--port", "0", "--metrics-port", "0"]
        own = {"COMPOFA_STATE_DIR": str(tmp_path)}
        done = subprocess.run(
            [*command, "--ui", "--ui-port", str(port)],
            capture_output=True, text=True, env=os.environ | own, timeout=60,
        )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == f"compofa: 127.0.0.1:{port}: Address already in use\n"
