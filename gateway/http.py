"""Metrics, health and what is given to it for debugging, over HTTP in a thread of its own. Knows
nothing of requests.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterable
from socketserver import TCPServer, ThreadingMixIn
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_PAUSE_S = 0.1
_PLAIN = ("Content-Type", "text/plain; charset=utf-8")


def application(
    registry: CollectorRegistry, is_ready: Callable[[], bool], debug: WSGIApplication | None = None
) -> WSGIApplication:
    """`/metrics` in Prometheus's formats; `/healthz` 200 when ready and 503 otherwise; `/debug`
    where there is something to answer it."""
    metrics: WSGIApplication = make_wsgi_app(registry)

    def serve(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path == "/metrics":
            return metrics(environ, start_response)
        if debug is not None and f"{path}/".startswith("/debug/"):
            return debug(environ, start_response)
        status, body = "404 Not Found", b"there is /metrics and /healthz\n"
        if path == "/healthz":
            ready = is_ready()
            status = "200 OK" if ready else "503 Service Unavailable"
            body = b"ready\n" if ready else b"not ready\n"
        start_response(status, [_PLAIN])
        return [body]

    return serve


class _Handler(WSGIRequestHandler):
    timeout = 10  # seconds; a peer that says nothing does not keep its thread

    def log_message(self, format: str, *args: object) -> None:
        """Scrapes are not worth a line."""


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def get_request(self) -> tuple[socket.socket, Any]:
        """Raises `OSError`, and not at once: where no descriptor is left the peer stays at the
        port, and the loop that asks would spin."""
        try:
            return super().get_request()
        except OSError:
            time.sleep(_PAUSE_S)
            raise

    def server_bind(self) -> None:
        """As in the standard library, but without asking DNS for this host's name."""
        TCPServer.server_bind(self)
        host, self.server_port = self.server_address[:2]
        self.server_name = str(host)
        self.setup_environ()


class _Server6(_Server):
    address_family = socket.AF_INET6


class HttpServer:
    """Serves an application from its construction until `close`.

    Raises `OSError` where `port` is taken; port 0 takes a free one, which `port` then says.
    """

    def __init__(self, host: str, port: int, app: WSGIApplication) -> None:
        kind = _Server6 if ":" in host else _Server
        self._server = make_server(host, port, app, kind, _Handler)
        self.port: int = self._server.server_port
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
