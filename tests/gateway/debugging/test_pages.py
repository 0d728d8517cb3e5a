"""Which requests are answered, over a real HTTP server: by whom, from where, by what method."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry

from gateway.debugging.pages import Asked, BusyError, DebugPages, Page, is_from_here
from gateway.http import HttpServer, application

Answer = tuple[int, str]


class Level:
    """A page that can be set."""

    value = "info"

    def __call__(self, asked: Asked) -> object:
        if asked.sent is not None:
            if asked.sent == "":
                raise ValueError("level: expected one")
            self.value = asked.sent
        return self.value


def busy(_: Asked) -> object:
    raise BusyError("not now")


@pytest.fixture
def server() -> Iterator[HttpServer]:
    pages: dict[str, Page] = {
        "busy": busy,
        "level": Level(),
        "number": lambda asked: {"is": float(asked.query["is"])},
        "secret": lambda _: "redis://:s3cret@host",
    }
    debug = DebugPages(pages, settable=["level"])
    app = application(CollectorRegistry(), lambda: True, debug)
    server = HttpServer("127.0.0.1", 0, app)
    yield server
    server.close()


def ask(
    server: HttpServer, path: str, method: str = "GET", body: str | None = None, **headers: str
) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body, named)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text.removesuffix("\n")


def test_the_first_page_lists_the_others(server: HttpServer) -> None:
    listed = "/debug/busy\n/debug/level\n/debug/number\n/debug/secret"
    assert ask(server, "/debug") == ask(server, "/debug/") == (200, listed)
    assert ask(server, "/debug/none") == (404, "/debug: there is busy, level, number, secret")
    assert ask(server, "/debugger")[0] == 404


def test_a_page_is_text_or_json(server: HttpServer) -> None:
    status, text = ask(server, "/debug/number?is=2")
    assert (status, json.loads(text)) == (200, {"is": 2.0})
    assert ask(server, "/debug/level") == (200, "info")


def test_what_cannot_be_shown_is_one_line(server: HttpServer) -> None:
    assert ask(server, "/debug/number?is=two")[0] == 400
    assert ask(server, "/debug/busy") == (503, "not now")


def test_only_what_can_be_set_is_set(server: HttpServer) -> None:
    assert ask(server, "/debug/level", "PUT", "debug") == (200, "debug")
    assert ask(server, "/debug/level", "PUT", "") == (400, "level: expected one")
    assert ask(server, "/debug/level", "PUT", "x" * 65)[0] == 400
    assert ask(server, "/debug/level") == (200, "debug")
    for method, path in (("PUT", "/debug/number"), ("POST", "/debug/level"), ("PUT", "/debug")):
        assert ask(server, path, method, "x")[0] == 405


def test_no_page_shows_a_password(server: HttpServer) -> None:
    assert ask(server, "/debug/secret") == (200, "redis://***@host")


@pytest.mark.parametrize("host", ["evil.example", "evil.example:9090", "10.0.0.1", ""])
def test_a_name_that_somebody_made_mean_this_machine_is_turned_away(
    server: HttpServer, host: str
) -> None:
    assert ask(server, "/debug/level", Host=host)[0] == 403
    assert ask(server, "/debug/level", "PUT", "debug", Host=host)[0] == 403


@pytest.mark.parametrize("header", ["X_Forwarded_For", "Forwarded", "Via"])
def test_a_proxy_is_turned_away(server: HttpServer, header: str) -> None:
    assert ask(server, "/debug/level", **{header: "127.0.0.1"})[0] == 403


@pytest.mark.parametrize(
    ("address", "host", "here"),
    [
        ("127.0.0.1", "localhost:9090", True),
        ("::1", "[::1]:9090", True),
        ("127.0.0.1", "127.0.0.1", True),
        ("10.0.0.7", "localhost:9090", False),
        ("127.0.0.6", "localhost:9090", False),  # from where a mesh's sidecar forwards
        ("", "localhost", False),
        ("127.0.0.1", "", False),
        ("127.0.0.1", "[", False),
    ],
)
def test_only_this_machine_is_answered(address: str, host: str, here: bool) -> None:
    assert is_from_here({"REMOTE_ADDR": address, "HTTP_HOST": host}) == here


def test_without_pages_there_is_nothing() -> None:
    server = HttpServer("127.0.0.1", 0, application(CollectorRegistry(), lambda: True))
    try:
        assert ask(server, "/debug") == (404, "there is /metrics and /healthz")
    finally:
        server.close()
