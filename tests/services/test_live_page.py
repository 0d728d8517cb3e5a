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

if TYPE_CHECKING:
    from tests.services.conftest import Connect, GatewayProcess, MakeTensor, Start

SERVE = [sys.executable, "-m", "gateway", "serve"]


def port_of(gateway: GatewayProcess) -> int:
    port = gateway.log()[0]["ui_port"]
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
    start: Start, connect: Connect, tensor: MakeTensor
) -> None:
    gateway = start("--ui", "--ui-port", "0")
    with events(port_of(gateway)) as response:
        assert response.readline() == b"event: hello\n"
        answer = connect(gateway.target).infer(tensor=tensor())
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
        assert gateway.process.wait(timeout=15) == 0
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
        assert gateway.process.wait(timeout=20) == 0


def test_without_the_option_there_is_no_page(gateway: GatewayProcess) -> None:
    assert "ui_port" not in gateway.log()[0]
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
