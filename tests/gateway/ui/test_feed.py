"""What those who look are told, and that a mistake in it does not end it."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

import pytest

from gateway.ui.feed import event
from gateway.ui.recent import Recent

if TYPE_CHECKING:
    from tests.gateway.ui.conftest import Opened


def test_an_event_is_one_line_of_json() -> None:
    text = event("news", {"label": "one\ntwo\r\n\n", "ms": 1.5}).decode()
    kind, data, *rest = text.split("\n")
    assert (kind, rest) == ("event: news", ["", ""])
    assert json.loads(data.removeprefix("data: ")) == {"label": "one\ntwo\r\n\n", "ms": 1.5}


async def test_a_mistake_is_logged_and_the_page_goes_on(
    opened: Opened, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    right = Recent.sums
    failed: list[bool] = []

    def fails_once(recent: Recent) -> object:
        if not failed:
            failed.append(True)
            raise RuntimeError("a mistake of ours")
        return right(recent)

    async with opened.events() as following:
        await following()
        monkeypatch.setattr(Recent, "sums", fails_once)
        opened.draining = True
        with caplog.at_level(logging.ERROR):
            kind, news = await following()
    assert (kind, news["draining"], failed) == ("news", True, [True])
    assert "the live page stands still" in caplog.text
