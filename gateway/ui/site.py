"""The live page over HTTP: its files, its stream of events, and images that are asked with.

Translates only: what is told is the feed's business, what is answered the asker's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from aiohttp import web

from gateway.errors import DeadlineExceeded, GatewayError, InvalidRequest, QueueFull
from gateway.pipeline import Pipeline
from gateway.services.messages import check_size
from gateway.ui import documents, origins
from gateway.ui.asking import Asker, refused_by_all
from gateway.ui.assets import PAGE, Asset, read_assets
from gateway.ui.feed import Feed
from gateway.ui.viewers import Viewers

MOST_IMAGES = 4  # at once: each is held in memory
UPLOAD_S = 30.0
_BYTES = "application/octet-stream"
_STATUSES = {
    "INVALID_ARGUMENT": 400,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "RESOURCE_EXHAUSTED": 429,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class TooManyImages(QueueFull):  # as QueueFull: named for the answer it is
    """As many images are being answered as may be."""

    safe_message = "too many images are being answered"


class OnlyShows(GatewayError):  # noqa: N818 - named for the answer it is
    """This page may not ask."""

    code = "PERMISSION_DENIED"
    safe_message = "this page only shows"


class Site:
    """The page's routes. Without an `asker` it only shows, and `cannot_ask` says why."""

    def __init__(
        self,
        pipeline: Pipeline,
        feed: Feed,
        viewers: Viewers,
        asker: Asker | None,
        cannot_ask: str | None,
    ) -> None:
        self._pipeline, self._feed, self._viewers = pipeline, feed, viewers
        self._asker, self._cannot_ask = asker, cannot_ask
        self._images = 0

    def application(self) -> web.Application:
        """What a server serves."""
        largest = self._asker.max_image_bytes + 1 if self._asker else 1  # see `_read`
        app = web.Application(middlewares=[_guarded], client_max_size=largest)
        app.on_response_prepare.append(_add_headers)
        for name, asset in read_assets().items():
            app.router.add_get("/" if name == PAGE else f"/{name}", _serving(asset))
        app.router.add_get("/events", self._events, allow_head=False)
        app.router.add_post("/answers", self._answers)
        return app

    async def _events(self, request: web.Request) -> web.StreamResponse:
        """A stream of Server-Sent Events: `hello`, then `news` and `classes` as they come."""

        def drop() -> None:
            if request.transport is not None:
                request.transport.abort()

        response = web.StreamResponse()
        response.content_type, response.charset = "text/event-stream", "utf-8"
        with self._viewers.seat(drop) as viewer:
            hello = self._feed.hello()
            with suppress(ConnectionError):  # the viewer has gone, or was dropped
                await response.prepare(request)
                await response.write(hello)
                async for payload in viewer.payloads():
                    await response.write(payload)
        return response

    async def _answers(self, request: web.Request) -> web.Response:
        """Ask every device class with the image in the body."""
        if self._asker is None:
            raise OnlyShows(self._cannot_ask)
        if self._images >= MOST_IMAGES:
            raise TooManyImages(1.0)
        self._images += 1
        try:
            image = await _read(request, self._asker.max_image_bytes)
            names = [info.name for info in self._pipeline.device_classes()]
            names = names[: documents.MOST_CLASSES]
            calls = await self._asker.ask(image, names, request.remote or "")
        finally:
            self._images -= 1
        refused = refused_by_all(calls)
        if refused is not None:
            raise refused
        labels = self._pipeline.labels
        return web.json_response({"answers": [documents.answer(call, labels) for call in calls]})


async def _read(request: web.Request, most: int) -> bytes:
    """The body, which aiohttp gives up beyond what the application was told. Raises
    `GatewayError`."""
    kind = request.content_type
    if kind != _BYTES and not kind.startswith("image/"):  # neither of which a form can send
        raise InvalidRequest("Content-Type", kind, f"image/* or {_BYTES}")
    check_size("image", request.content_length or 0, most)
    try:
        async with asyncio.timeout(UPLOAD_S):
            return await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise InvalidRequest("image", "more", f"at most {most} bytes") from None
    except (web.RequestPayloadError, ConnectionError):  # the latter where the caller has gone
        raise InvalidRequest("image", "something else", "a body as its headers say") from None
    except TimeoutError:
        raise DeadlineExceeded(f"the image was not there within {UPLOAD_S:g} s") from None


@web.middleware
async def _guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turns other sites' requests away, and errors into statuses."""
    try:
        opened = request.path == "/" and request.headers.get("Sec-Fetch-Mode") == "navigate"
        origins.check(request.method, request.headers, is_navigation=opened)
        return await handler(request)
    except GatewayError as error:
        document = {"code": error.code, "error": error.safe_message}
        return web.json_response(document, status=_STATUSES.get(error.code, 500))


async def _add_headers(_: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(origins.HEADERS)


def _serving(asset: Asset) -> Handler:
    async def serve(_: web.Request) -> web.Response:
        return web.Response(body=asset.content, content_type=asset.content_type, charset="utf-8")

    return serve
