"""Metrics, health and what is given to it for debugging, over HTTP in a thread of its own. Knows
nothing of requests.
"""

from __future__ import annotations

import io
import logging
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from socketserver import TCPServer, ThreadingMixIn
from typing import TYPE_CHECKING, Any, cast
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

MOST_PEERS = 16  # at once; each has a thread
ARRIVES_WITHIN_S = 10.0  # a whole request, however it is cut in pieces
ANSWERED_WITHIN_S = 60.0  # from then on: a profile takes half of it
_WAITING = 64  # connections that the kernel keeps for the loop to take
_PAUSE_S = 0.1
_log = logging.getLogger("gateway.http")
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


@dataclass(slots=True)
class _Peer:
    """One connection: until when it may last, by `time.monotonic`, and how far it is."""

    until: float
    has_asked: bool = False
    is_cut_off: bool = False


class _Peers:
    """Who is connected, each on a thread of its own. Bounds how many, and how long each may take:
    a timeout of a socket begins anew with every byte."""

    def __init__(self) -> None:
        self._by_socket: dict[socket.socket, _Peer] = {}  # who came first is first
        self._changed = threading.Condition()

    def admit(self, connection: socket.socket) -> bool:
        """Whether there is a place. Where there is none, who has taken longest over its request has
        to go: a scrape comes whole at once, and gets through between any number that trickle."""
        with self._changed:
            if not self._has_room():
                self._cut_off_slowest()
                self._changed.wait_for(self._has_room, _PAUSE_S)
            if not self._has_room():
                return False
            self._by_socket[connection] = _Peer(time.monotonic() + ARRIVES_WITHIN_S)
            return True

    def asked(self, connection: socket.socket) -> bool:
        """Its request is here, and it is not cut off for it any more. False where it has been."""
        with self._changed:
            peer = self._by_socket[connection]
            peer.has_asked, peer.until = True, time.monotonic() + ANSWERED_WITHIN_S
            return not peer.is_cut_off

    def cut_off_late(self) -> None:
        """Those whose time is over."""
        with self._changed:
            now = time.monotonic()
            for connection, peer in self._by_socket.items():
                if now > peer.until and not peer.is_cut_off:
                    _cut_off(connection, peer)

    def gone(self, connection: socket.socket) -> None:
        """It is about to be closed: nobody else touches it from here on."""
        with self._changed:
            self._by_socket.pop(connection, None)
            self._changed.notify_all()

    def _has_room(self) -> bool:
        return len(self._by_socket) < MOST_PEERS

    def _cut_off_slowest(self) -> None:
        for connection, peer in self._by_socket.items():
            if not (peer.has_asked or peer.is_cut_off):
                _cut_off(connection, peer)
                return


def _cut_off(connection: socket.socket, peer: _Peer) -> None:
    """Its thread, which waits for it, finds that it has ended."""
    peer.is_cut_off = True
    with suppress(OSError):  # it has gone by itself
        connection.shutdown(socket.SHUT_RDWR)


class _Handler(WSGIRequestHandler):
    timeout = 10  # seconds, of one read or write; `_Peers` bounds all of them

    def parse_request(self) -> bool:
        """As in the standard library, which takes a connection's end for that of a request."""
        whole = super().parse_request()
        return whole and cast("_Server", self.server).peers.asked(self.connection)

    def log_message(self, format: str, *args: object) -> None:
        """Scrapes are not worth a line."""

    def get_stderr(self) -> io.StringIO:
        """What the standard library has to say of a peer that takes no answer: nobody reads it."""
        return io.StringIO()


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    request_queue_size = _WAITING

    def __init__(self, *args: Any) -> None:
        self.peers = _Peers()
        super().__init__(*args)

    def verify_request(self, request: Any, client_address: Any) -> bool:  # noqa: ARG002
        """Whether it gets a thread; else it is closed."""
        return self.peers.admit(request)

    def shutdown_request(self, request: Any) -> None:
        self.peers.gone(request)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        self.peers.cut_off_late()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        """The standard library would print where it was when a peer went, or said nothing."""
        fields = {"peer": client_address[0], "error": repr(sys.exception())}
        _log.debug("a connection to the HTTP port failed", extra={"fields": fields})

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


def _logged(app: WSGIApplication) -> WSGIApplication:
    """The same, and a line of the log where it fails."""

    def serve(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        try:
            return app(environ, start_response)
        except Exception as error:
            fields = {"path": environ.get("PATH_INFO", "")}
            _log.error("internal error", exc_info=error, extra={"fields": fields})
            start_response("500 Internal Server Error", [_PLAIN], sys.exc_info())
            return [b"internal error\n"]

    return serve


class HttpServer:
    """Serves an application from its construction until `close`.

    Raises `OSError` where `port` is taken; port 0 takes a free one, which `port` then says.
    """

    def __init__(self, host: str, port: int, app: WSGIApplication) -> None:
        kind = _Server6 if ":" in host else _Server
        self._server = make_server(host, port, _logged(app), kind, _Handler)
        self.port: int = self._server.server_port
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
