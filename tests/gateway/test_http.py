"""The HTTP port: what it answers, and that nobody keeps others from it or writes to its log."""

from __future__ import annotations

import io
import json
import resource
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from threading import Event
from typing import TYPE_CHECKING

import pytest
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.parser import text_string_to_metric_families

from gateway import http, logs
from gateway.http import HttpServer, application
from tests.gateway.test_logs import undone
from tests.redis_server import wait_until

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

SOON_S = 0.3


@pytest.fixture
def ready() -> Event:
    event = Event()
    event.set()
    return event


@pytest.fixture
def server(ready: Event) -> Iterator[HttpServer]:
    registry = CollectorRegistry()
    Counter("apples", "Fruit.", registry=registry).inc(3)
    server = HttpServer("127.0.0.1", 0, application(registry, ready.is_set))
    yield server
    server.close()


def get(server: HttpServer, path: str) -> tuple[int, str]:
    try:
        url = f"http://127.0.0.1:{server.port}{path}"
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_metrics_are_those_of_the_registry(server: HttpServer) -> None:
    status, text = get(server, "/metrics")
    assert status == 200
    (family,) = (f for f in text_string_to_metric_families(text) if f.name == "apples")
    assert family.samples[0].value == 3


def test_health_follows_readiness(server: HttpServer, ready: Event) -> None:
    assert get(server, "/healthz") == (200, "ready\n")
    ready.clear()
    assert get(server, "/healthz") == (503, "not ready\n")


def test_other_paths_are_not_found(server: HttpServer) -> None:
    assert get(server, "/")[0] == 404
    assert get(server, "/metrics/more")[0] == 404


def test_a_taken_port_is_an_error(server: HttpServer) -> None:
    with pytest.raises(OSError, match="in use"):
        HttpServer("127.0.0.1", server.port, application(CollectorRegistry(), lambda: True))


def test_nobody_spins_where_a_connection_cannot_be_let_in(server: HttpServer) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with socket.socket() as peer:
        resource.setrlimit(resource.RLIMIT_NOFILE, (8, hard))  # not one descriptor more
        try:
            peer.connect(("127.0.0.1", server.port))
            began = time.process_time()
            time.sleep(1)
            spent = time.process_time() - began
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert spent < 0.3
    assert get(server, "/healthz")[0] == 200


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    text = io.StringIO()
    with undone():
        logs.configure(text, "debug")
        yield text


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody may take longer than that over a request."""
    monkeypatch.setattr(http, "ARRIVES_WITHIN_S", SOON_S)


@contextmanager
def serving(app: WSGIApplication) -> Iterator[HttpServer]:
    server = HttpServer("127.0.0.1", 0, app)
    try:
        yield server
    finally:
        server.close()


def connected(server: HttpServer, stack: ExitStack, begin: bytes = b"") -> socket.socket:
    peer = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=10))
    peer.sendall(begin)
    return peer


def is_closed(peer: socket.socket) -> bool:
    """Whether the other side has closed it, without waiting."""
    peer.setblocking(False)
    try:
        return peer.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def lines(log: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in log.getvalue().splitlines()]


def test_a_peer_that_says_nothing_is_worth_no_more_than_a_line_for_who_debugs(
    server: HttpServer,
    monkeypatch: pytest.MonkeyPatch,
    log: io.StringIO,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(http._Handler, "timeout", SOON_S)
    with ExitStack() as stack:
        peer = connected(server, stack)
        assert peer.recv(1) == b""
        connected(server, stack, b"\x16\x03\x01\0\n\n")
        assert get(server, "/healthz")[0] == 200
    assert capfd.readouterr() == ("", "")
    assert [(line["level"], line["error"]) for line in lines(log)] == [
        ("debug", "TimeoutError('timed out')")
    ]


@pytest.mark.usefixtures("soon")
def test_a_request_that_trickles_is_cut_off(server: HttpServer) -> None:
    with ExitStack() as stack:
        peer, began = connected(server, stack, b"GET /metrics HTTP/1.0\r\nx: "), time.monotonic()
        while not is_closed(peer):
            with suppress(OSError):
                peer.send(b"a")
            assert time.monotonic() - began < 5
            time.sleep(SOON_S / 10)
    assert time.monotonic() - began >= SOON_S


@pytest.mark.usefixtures("soon")
def test_the_end_of_a_request_that_was_cut_off_is_not_taken_for_its_end() -> None:
    asked: list[str] = []

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        asked.append(environ["PATH_INFO"])
        start_response("200 OK", [])
        return []

    with serving(app) as server, ExitStack() as stack:
        peer = connected(server, stack, b"GET /cut HTTP/1.0\r\n")
        wait_until(lambda: is_closed(peer), 5)
        get(server, "/whole")
    assert asked == ["/whole"]


def test_any_number_that_trickle_take_few_threads_and_a_scrape_gets_through(
    server: HttpServer,
) -> None:
    before = threading.active_count()
    with ExitStack() as stack:
        peers = [connected(server, stack, b"GET") for _ in range(100)]
        for path in ("/metrics", "/healthz"):
            began = time.monotonic()
            assert get(server, path)[0] == 200
            assert time.monotonic() - began < 2
        wait_until(lambda: sum(map(is_closed, peers)) >= 100 - http.MOST_PEERS, 5)
        assert threading.active_count() - before <= http.MOST_PEERS
        assert not is_closed(peers[-1]), "who came last may still say what it wants"


def answering(go_on: Event, begun: list[str]) -> WSGIApplication:
    """What takes its time, as a profile does."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        begun.append(environ["PATH_INFO"])
        go_on.wait(30)
        start_response("200 OK", [])
        return [b"done\n"]

    return app


@pytest.mark.usefixtures("soon")
def test_whose_request_has_come_is_answered_whoever_else_comes() -> None:
    go_on, begun = Event(), list[str]()
    with serving(answering(go_on, begun)) as server, ExitStack() as stack:
        asked = [
            connected(server, stack, b"GET / HTTP/1.0\r\n\r\n") for _ in range(http.MOST_PEERS)
        ]
        wait_until(lambda: len(begun) == http.MOST_PEERS, 5)
        late = connected(server, stack, b"GET / HTTP/1.0\r\n\r\n")
        wait_until(lambda: is_closed(late), 5)
        time.sleep(2 * SOON_S)  # longer than a request may take to come
        go_on.set()
        for peer in asked:
            assert peer.makefile("rb").read().endswith(b"done\n")
        wait_until(lambda: get(server, "/")[0] == 200, 5)
    assert len(begun) == http.MOST_PEERS + 1


@pytest.mark.parametrize("bound", ["of all", "of one write"])
@pytest.mark.parametrize("read", [lambda peer: peer.recv(1), socket.socket.fileno])
def test_who_takes_its_answer_too_slowly_is_cut_off(
    monkeypatch: pytest.MonkeyPatch,
    log: io.StringIO,
    capfd: pytest.CaptureFixture[str],
    bound: str,
    read: Callable[[socket.socket], object],
) -> None:
    if bound == "of all":
        monkeypatch.setattr(http, "ANSWERED_WITHIN_S", SOON_S)
    else:
        monkeypatch.setattr(http._Handler, "timeout", SOON_S)

    def app(_: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [])
        return [bytes(100_000_000)]

    before = threading.active_count()
    with serving(app) as server, ExitStack() as stack:
        peer = connected(server, stack, b"GET / HTTP/1.0\r\n\r\n")
        wait_until(lambda: threading.active_count() == before + 2, 5)

        def is_given_up() -> bool:
            read(peer)
            return threading.active_count() == before + 1

        wait_until(is_given_up, 5)
    assert capfd.readouterr() == ("", "")
    assert "error" not in {line["level"] for line in lines(log)}


def test_what_fails_inside_is_one_line_of_the_log(
    log: io.StringIO, capfd: pytest.CaptureFixture[str]
) -> None:
    def app(_: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [])
        raise RuntimeError("out of order")

    with serving(app) as server:
        assert get(server, "/metrics") == (500, "internal error\n")
    assert capfd.readouterr() == ("", "")
    (line,) = lines(log)
    assert (line["level"], line["event"], line["path"]) == ("error", "internal error", "/metrics")
    assert "out of order" in str(line["traceback"])
