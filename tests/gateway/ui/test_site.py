"""The page as a browser meets it, over HTTP."""

from __future__ import annotations

import asyncio
import gzip
import io
import socket
import struct
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import aiohttp
import numpy as np
import pytest
from PIL import Image

from gateway.calls import Call
from gateway.pipeline import Pipeline
from gateway.request import Answer, Constraints, ImageInput, Selection
from gateway.ui.assets import NAMES, PAGE
from gateway.ui.live_page import MOST_OTHERS
from tests.gateway.following import until

if TYPE_CHECKING:
    from tests.gateway.ui.conftest import Open, Opened

MOST_BYTES = 100_000


def answered(device_class: str = "alpha") -> Call:
    call = Call("Infer", "peer", device_class)
    chosen = Selection("d2-3@12", 0.75, 4.0, degraded=False)
    call.answered(Answer(np.zeros((1, 10), np.float32), (0,), chosen, 8.0, 2.0, 1))
    return call


async def said(asked: Any) -> tuple[int, dict[str, Any]]:
    async with asked as response:
        return response.status, await response.json()


async def test_every_file_with_its_type_and_the_headers_that_keep_it_to_itself(
    opened: Opened,
) -> None:
    types = {"html": "text/html", "css": "text/css", "js": "text/javascript",
             "svg": "image/svg+xml"}  # fmt: skip
    for name in NAMES:
        async with opened.get("/" if name == PAGE else f"/{name}") as response:
            assert response.status == 200
            assert response.content_type == types[name.rpartition(".")[2]]
            assert "default-src 'none'" in response.headers["Content-Security-Policy"]
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            assert response.headers["Cache-Control"] == "no-store"
    async with opened.get("/nothing") as response:
        assert response.status == 404
        assert "Content-Security-Policy" in response.headers


async def test_a_page_is_told_everything_at_first(opened: Opened, pipeline: Pipeline) -> None:
    opened.page.observe(answered())
    async with opened.events() as following:
        kind, hello = await following()
    assert kind == "hello"
    assert hello["net"]["name"] == pipeline.manifest.name
    assert (hello["net"]["max_image_bytes"], hello["net"]["cannot_ask"]) == (MOST_BYTES, None)
    assert [each["name"] for each in hello["classes"]] == ["alpha", "beta"]
    for each in hello["classes"]:
        candidates = pipeline.candidates(each["name"])
        frontier = [[c.subnet, c.latency_ms, c.accuracy] for c in candidates.frontier]
        assert each["frontier"] == frontier
        chosen = pipeline.select(Constraints(each["name"]))
        assert each["idle"] == [chosen.subnet, chosen.latency_ms, chosen.accuracy]
        assert each["default_budget_ms"] == candidates.default_budget_ms
    (row,) = hello["rows"]
    assert (row["subnet"], row["predicted_ms"], row["compute_ms"]) == ("d2-3@12", 4.0, 8.0)
    assert hello["sums"]["alpha"]["answers"] == hello["count"] == 1
    assert not hello["draining"]


async def test_what_happens_is_told_as_it_comes(opened: Opened) -> None:
    async with opened.events() as following:
        await following()
        opened.page.observe(answered("beta"))
        kind, news = await following()
        while not news["rows"]:
            kind, news = await following()
        assert kind == "news"
        assert [row["device_class"] for row in news["rows"]] == ["beta"]
        opened.draining = True
        while not news["draining"]:
            kind, news = await following()
        kind, news = await following()  # nothing new, and told all the same
        assert (kind, news["rows"]) == ("news", [])


async def test_an_image_is_answered_for_each_class_as_the_pipeline_would(
    opened: Opened, pipeline: Pipeline, png: bytes
) -> None:
    status, told = await said(opened.post(png))
    assert status == 200
    assert [each["device_class"] for each in told["answers"]] == ["alpha", "beta"]
    for each in told["answers"]:
        answer = await pipeline.infer(ImageInput(png), Constraints(each["device_class"]))
        assert each["subnet"] == answer.selection.subnet
        assert each["accuracy"] == answer.selection.accuracy
        assert each["predicted_ms"] == answer.selection.latency_ms
        assert each["label"] == pipeline.labels[int(answer.logits.argmax())]
        assert each["compute_ms"] > 0
    assert [(call.method, call.code) for call in opened.calls] == [("Infer", "OK")] * 2
    assert len({call.request_id for call in opened.calls}) == 1
    assert all(call.seconds > 0 for call in opened.calls)


def bomb() -> bytes:
    buffer = io.BytesIO()
    Image.new("1", (8000, 8000)).save(buffer, "PNG")
    assert len(buffer.getvalue()) < MOST_BYTES
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: b"not an image", "image: expected one whole image: PNG, JPEG or WEBP"),
        (lambda: b"", "image: expected the bytes of one image"),
        (lambda: b"x" * (MOST_BYTES + 1), f"image: expected at most {MOST_BYTES} bytes"),
        (bomb, "image: expected at most 50000000 pixels, got '8000x8000'"),
    ],
)
async def test_what_is_no_image_is_refused_as_an_infer_call_would(
    opened: Opened, make: Any, message: str
) -> None:
    status, told = await said(opened.post(make()))
    assert (status, told["code"]) == (400, "INVALID_ARGUMENT")
    assert message in told["error"]


async def test_a_body_that_does_not_say_how_long_it_is_ends_at_the_limit(opened: Opened) -> None:
    async def endless() -> Any:
        for _ in range(50):
            yield b"x" * 10_000

    status, told = await said(opened.post(endless()))
    assert status == 400
    assert told["error"] == f"image: expected at most {MOST_BYTES} bytes, got 'more'"


async def test_a_body_that_is_packed_is_not_unpacked(opened: Opened, png: bytes) -> None:
    own = {"Content-Encoding": "gzip"}
    status, told = await said(opened.post(gzip.compress(png), **own))
    assert status == 400
    assert "expected one whole image" in told["error"]


async def test_the_largest_that_may_be_is_taken(opened: Opened, png: bytes) -> None:
    padded = png + b"\0" * (MOST_BYTES - len(png))  # after a PNG's end anything may follow
    assert (await said(opened.post(padded)))[0] == 200


async def test_other_sites_get_nothing(opened: Opened, png: bytes) -> None:
    for path in ("/", "/events", "/page.js"):
        status, told = await said(opened.get(path, Host="evil.example"))
        assert (status, told["code"]) == (403, "PERMISSION_DENIED")
    own = {"Sec-Fetch-Site": "cross-site"}
    assert (await said(opened.get("/events", **own)))[0] == 403
    async with opened.get("/", **own | {"Sec-Fetch-Mode": "navigate"}) as response:
        assert response.status == 200  # a link to the page
    assert (await said(opened.post(png, Origin="https://evil.example")))[0] == 403
    form = {"Content-Type": "multipart/form-data; boundary=x"}
    status, told = await said(opened.post(png, **form))
    assert status == 400
    assert "Content-Type: expected image/*" in told["error"]
    assert opened.calls == []


async def test_a_page_too_many_is_told_so(open_page: Open) -> None:
    async with open_page(max_viewers=1) as opened:
        async with opened.events():
            status, told = await said(opened.get("/events"))
            assert (status, told["code"]) == (429, "RESOURCE_EXHAUSTED")
            assert told["error"].startswith("1 pages are open already")
        await until(lambda: len(opened.page._viewers) == 0, 30)
        async with opened.events() as following:
            assert (await following())[0] == "hello"


async def test_a_viewer_that_does_not_read_is_dropped(opened: Opened) -> None:
    """And one that reads is told all of it meanwhile."""
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect(("127.0.0.1", opened.page.port))
        slow.send(b"GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        viewers = opened.page._viewers
        await until(lambda: len(viewers) == 1, 30)
        async with opened.events() as following:
            await following()
            await until(lambda: len(viewers) == 2, 30)
            payload = b"event: more\ndata: " + b'"' + b"x" * 200_000 + b'"' + b"\n\n"
            for _ in range(200):
                viewers.tell(payload)
                while (await following())[0] != "more":
                    pass
                if len(viewers) == 1:
                    break
            await until(lambda: len(viewers) == 1, 30)


async def test_a_page_that_only_shows_says_why(open_page: Open, png: bytes, tmp_path: Any) -> None:
    async with open_page(tokens=tmp_path / "tokens") as opened:
        async with opened.events() as following:
            _, hello = await following()
        assert "asks callers who they are" in hello["net"]["cannot_ask"]
        status, told = await said(opened.post(png))
    assert (status, told["error"]) == (403, hello["net"]["cannot_ask"])
    assert opened.calls == []


async def test_the_rate_of_a_caller_bounds_the_page_too(open_page: Open, png: bytes) -> None:
    async with open_page(max_rate=0.001, max_burst=1) as opened:
        status, told = await said(opened.post(png))
    assert status == 200
    assert [each["code"] for each in told["answers"]] == ["OK", "RESOURCE_EXHAUSTED"]
    assert "used up its rate" in told["answers"][1]["error"]


async def test_a_draining_gateway_turns_the_page_s_images_away(opened: Opened, png: bytes) -> None:
    opened.draining = True
    status, told = await said(opened.post(png))
    assert status == 200
    assert [each["code"] for each in told["answers"]] == ["UNAVAILABLE"] * 2


async def test_connections_are_bounded_and_the_page_is_back_when_they_end(
    open_page: Open,
) -> None:
    async with open_page(max_viewers=1) as opened:
        silent = [
            await asyncio.open_connection("127.0.0.1", opened.page.port)
            for _ in range(MOST_OTHERS + 1)
        ]
        await asyncio.sleep(0.1)
        with pytest.raises(aiohttp.ClientConnectionError):
            await opened.get("/")
        for _, writer in silent:
            writer.close()
            await writer.wait_closed()
        async with asyncio.timeout(30):
            while not await _answers(opened):
                await asyncio.sleep(0.01)


async def _answers(opened: Opened) -> bool:
    with suppress(aiohttp.ClientConnectionError):
        async with opened.get("/") as response:
            return bool(response.status == 200)
    return False


async def test_a_caller_that_leaves_in_the_middle_takes_no_place(
    opened: Opened, png: bytes
) -> None:
    for _ in range(8):
        with socket.socket() as gone:
            gone.connect(("127.0.0.1", opened.page.port))
            head = (
                f"POST /answers HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: http://127.0.0.1\r\n"
                f"Content-Type: application/octet-stream\r\nContent-Length: {len(png)}\r\n\r\n"
            )
            gone.send(head.encode() + png[:10])
            await asyncio.sleep(0.02)
            gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    status = 0
    async with asyncio.timeout(30):
        while status != 200:
            status, _ = await said(opened.post(png))


async def test_more_images_at_once_than_may_be_are_turned_away(opened: Opened, png: bytes) -> None:
    begun, go_on = asyncio.Semaphore(0), asyncio.Event()

    async def slowly() -> Any:
        yield png[:10]
        begun.release()
        await go_on.wait()
        yield png[10:]

    slow = [asyncio.create_task(said(opened.post(slowly()))) for _ in range(4)]
    for _ in slow:
        await begun.acquire()
    status, told = await said(opened.post(b""))
    async with asyncio.timeout(30):
        while status != 429:  # until all four have arrived
            status, told = await said(opened.post(png))
    assert "too many images" in told["error"]
    go_on.set()
    assert [status for status, _ in await asyncio.gather(*slow)] == [200] * 4
