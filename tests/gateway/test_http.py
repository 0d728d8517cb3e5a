import resource
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from threading import Event

import pytest
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.parser import text_string_to_metric_families

from gateway.http import HttpServer, application


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
