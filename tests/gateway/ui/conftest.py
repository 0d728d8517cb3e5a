"""A live page on a free port, around a real pipeline, and what a browser would send it."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
from PIL import Image

from gateway.calls import Call
from gateway.config import ServerConfig
from gateway.opening import open_pipeline
from gateway.pipeline import Pipeline
from gateway.security.config import SecurityConfig
from gateway.services.messages import InputLimits
from gateway.ui.config import UiConfig
from gateway.ui.live_page import LivePage

MOST_BYTES = 100_000
Event = tuple[str, dict[str, Any]]


@dataclass
class Opened:
    """A page that is served, what a browser that shows it would ask, and the calls it made."""

    page: LivePage
    session: aiohttp.ClientSession
    calls: list[Call] = field(default_factory=list)
    draining: bool = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.page.port}"

    def get(self, path: str, **headers: str) -> Any:
        return self.session.get(self.url + path, headers=headers)

    def post(self, body: Any, **headers: str) -> Any:
        own = {"Origin": self.url, "Content-Type": "application/octet-stream"}
        return self.session.post(f"{self.url}/answers", data=body, headers=own | headers)

    @asynccontextmanager
    async def events(self) -> AsyncIterator[Callable[[], Awaitable[Event]]]:
        """An open stream, and what waits for its next event."""
        async with self.get("/events") as response:
            assert response.status == 200
            assert response.content_type == "text/event-stream"

            async def following() -> Event:
                async with asyncio.timeout(30):
                    text = (await response.content.readuntil(b"\n\n")).decode()
                kind, data = text.rstrip("\n").split("\n")
                return kind.removeprefix("event: "), json.loads(data.removeprefix("data: "))

            yield following


Open = Callable[..., Any]


@pytest.fixture(scope="session")
def pipeline(artifact_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    store = f"sqlite:///{tmp_path_factory.mktemp('store')}/tables.sqlite3"
    with open_pipeline(
        ServerConfig(artifact=artifact_folder, store=store, engine="torch")
    ) as opened:
        yield opened


@pytest.fixture
def open_page(pipeline: Pipeline) -> Open:
    """Opens pages; the options are the configuration's, and security's."""

    @asynccontextmanager
    async def opened(*, max_viewers: int = 4, **security: object) -> AsyncIterator[Opened]:
        limits = InputLimits(tensor_bytes=1, image_bytes=MOST_BYTES)
        config = UiConfig(port=0, max_viewers=max_viewers)
        page = LivePage(config, pipeline, limits, SecurityConfig.model_validate(security))
        async with aiohttp.ClientSession(read_bufsize=2**20) as session:
            result = Opened(page, session)
            await page.start(result.calls.append, lambda: result.draining)
            try:
                yield result
            finally:
                await page.close()

    return opened


@pytest.fixture
async def opened(open_page: Open) -> AsyncIterator[Opened]:
    async with open_page() as page:
        yield page


@pytest.fixture(scope="session")
def png() -> bytes:
    """One image as the tiny net takes it."""
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()
