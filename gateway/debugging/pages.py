"""`/debug`: pages for whoever has to find out what a gateway is doing, as a WSGI application.

They say nothing of what callers sent and no secret, but much of the inside, and some cost time. So
they are off unless asked for, and answer this machine alone: what comes from elsewhere, by a proxy,
or by a browser that was told another name for this machine, is turned away.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

from gateway.security.addresses import is_own
from supernet.masking import masked

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

PREFIX = "/debug"
_OWN = (
    "127.0.0.1",
    "::1",
    "::ffff:127.0.0.1",
)  # others of 127.0.0.0/8 are what meshes forward from
_FORWARDED = ("HTTP_FORWARDED", "HTTP_X_FORWARDED_FOR", "HTTP_VIA")
_MOST_SENT = 64  # bytes that a page is given
_HEADERS = [("Cache-Control", "no-store"), ("X-Content-Type-Options", "nosniff")]


@dataclass(frozen=True, slots=True)
class Asked:
    """What a page is asked: the query's fields, and what was sent; None where it is only read."""

    query: Mapping[str, str]
    sent: str | None = None


Page = Callable[[Asked], object]
"""What a page shows: a string as it is, anything else as JSON. Raises `ValueError` for what makes
no sense, `BusyError` where it cannot be shown now."""


class BusyError(Exception):
    """One line that says what is in the way."""


class DebugPages:
    """`pages` by their names; those in `settable` may be sent something, too."""

    def __init__(self, pages: Mapping[str, Page], settable: Iterable[str] = ()) -> None:
        self._pages, self._settable = dict(pages), frozenset(settable)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        status, shown = self._answer(environ)
        if isinstance(shown, str):
            kind, text = "text/plain; charset=utf-8", shown
        else:
            kind, text = "application/json", json.dumps(shown, indent=1)
        start_response(status, [("Content-Type", kind), *_HEADERS])
        return [f"{masked(text)}\n".encode()]

    def _answer(self, environ: WSGIEnvironment) -> tuple[str, object]:
        if not is_from_here(environ):
            return "403 Forbidden", f"{PREFIX}: only this machine is answered, at its own address"
        name = environ.get("PATH_INFO", "").removeprefix(PREFIX).strip("/")
        if name and name not in self._pages:
            return "404 Not Found", f"{PREFIX}: there is {', '.join(sorted(self._pages))}"
        method = environ.get("REQUEST_METHOD", "GET")
        if method not in (("GET", "PUT") if name in self._settable else ("GET",)):
            return "405 Method Not Allowed", f"{method}: not for {PREFIX}/{name}"
        if not name:
            return "200 OK", "\n".join(f"{PREFIX}/{each}" for each in sorted(self._pages))
        try:
            return "200 OK", self._pages[name](_asked(environ, method))
        except ValueError as error:
            return "400 Bad Request", str(error)
        except BusyError as error:
            return "503 Service Unavailable", str(error)


def is_from_here(environ: WSGIEnvironment) -> bool:
    """Whether a request comes from this machine and was meant for it, by nobody in between."""
    if environ.get("REMOTE_ADDR") not in _OWN or any(name in environ for name in _FORWARDED):
        return False
    # A page in a browser may have any name resolve to this machine, and would be of its origin.
    try:
        host = urlsplit(f"//{environ.get('HTTP_HOST', '')}").hostname
    except ValueError:
        return False
    return host is not None and is_own(host)


def _asked(environ: WSGIEnvironment, method: str) -> Asked:
    query = dict(parse_qsl(environ.get("QUERY_STRING", "")))
    if method != "PUT":
        return Asked(query)
    length = environ.get("CONTENT_LENGTH") or "0"
    if not length.isdecimal() or int(length) > _MOST_SENT:
        raise ValueError(f"body: expected at most {_MOST_SENT} bytes, got {length[:20]}")
    sent: bytes = environ["wsgi.input"].read(int(length))
    return Asked(query, sent.decode("utf-8", "replace").strip())
