"""What goes on beside the server."""

from __future__ import annotations

import asyncio

import pytest

from gateway.process import _beside


async def test_what_fails_beside_the_server_is_said_at_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def follows() -> None:
        raise RuntimeError("the store spoke in tongues")

    async with _beside(follows()):
        await asyncio.sleep(0)
        assert "follows" in caplog.text
        assert "in tongues" in caplog.text
