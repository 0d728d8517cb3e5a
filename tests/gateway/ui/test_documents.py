"""What a page is told of a gateway that is not as most are."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from gateway.calls import Call
from gateway.config import ServerConfig
from gateway.device_classes import DeviceClasses
from gateway.engines.net import Net
from gateway.opening import running_pipeline
from gateway.pipeline import Pipeline
from gateway.security.config import SecurityConfig
from gateway.services.messages import InputLimits
from gateway.ui import documents
from gateway.ui.config import UiConfig
from gateway.ui.live_page import LivePage
from supernet.latency import LatencyTable, read_bundled_tables


@pytest.fixture(scope="module")
def alpha(artifact_folder: Path) -> LatencyTable:
    return read_bundled_tables(artifact_folder)[0]


@pytest.fixture(scope="module")
def crowded(artifact_folder: Path, alpha: LatencyTable) -> Iterator[Pipeline]:
    """More classes than are shown; nothing meets the default budget of the first."""
    net = Net(artifact_folder)
    tables = [alpha.scaled(1.0 + i, f"c{i:03}", 1e6) for i in range(documents.MOST_CLASSES + 5)]
    tables[0] = alpha.scaled(1.0, "c000", default_budget_ms=1e-9)
    classes = DeviceClasses(net.manifest, tables, fallback="c001")
    with running_pipeline(
        ServerConfig(artifact=artifact_folder, engine="torch"), net, classes
    ) as opened:
        yield opened


def test_of_many_classes_the_first_are_shown_and_the_others_counted(crowded: Pipeline) -> None:
    told = documents.device_classes(crowded)
    classes = told["classes"]
    assert isinstance(classes, list)
    assert [each["name"] for each in classes] == [f"c{i:03}" for i in range(documents.MOST_CLASSES)]
    assert told["other_classes"] == 5


def test_a_budget_that_nothing_meets_is_said_in_words(crowded: Pipeline) -> None:
    classes = documents.device_classes(crowded)["classes"]
    assert isinstance(classes, list)
    assert classes[0]["error"].startswith("no subnet takes at most 1e-09 ms on 'c000'")
    assert classes[0]["idle"] is None
    assert len(classes[0]["frontier"]) > 1
    assert classes[1]["error"] is None


def test_a_class_that_is_served_as_another_counts_for_that_one(crowded: Pipeline) -> None:
    page = LivePage(UiConfig(), crowded, InputLimits(1, 1), SecurityConfig())
    page.observe(Call("Infer", "peer", "nobody", code="UNAVAILABLE"))
    assert list(page._recent.sums()) == ["c001"]


def test_an_image_is_asked_of_no_more_than_are_shown(crowded: Pipeline, png: bytes) -> None:
    async def ask() -> list[str]:
        page = LivePage(UiConfig(port=0), crowded, InputLimits(1, 10_000), SecurityConfig())
        await page.start(lambda _: None, lambda: False)
        url = f"http://127.0.0.1:{page.port}"
        own = {"Origin": url, "Content-Type": "image/png"}
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{url}/answers", data=png, headers=own) as response,
        ):
            answers = (await response.json())["answers"]
        await page.close()
        return [each["code"] for each in answers]

    codes = asyncio.run(ask())
    assert codes == ["FAILED_PRECONDITION"] + ["OK"] * (documents.MOST_CLASSES - 1)
