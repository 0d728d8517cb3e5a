"""The wall clock jumps by years, forth and back, under load: nothing waits by it.

libfaketime, preloaded into a gateway, moves what it takes for the time of day (CLOCK_REALTIME) and
leaves the monotonic clock alone, as a jump of the real one does.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from benchmarks.chaos.load import ARTIFACT, Load, images, loaded, ours, until_answered
from benchmarks.chaos.outcome import Outcome
from gateway.client import CallError, Client
from tests.services.conftest import GatewayProcess, running

JUMPS = {"+1h": 3600, "+5y": 5 * 365 * 86400, "-5y": -5 * 365 * 86400, "+0": 0}
KNOWN_WITHIN_S = 30.0
ANSWERS_BETWEEN = 300
SLOWEST_S = 5.0  # of any answer: nothing waits for a clock to come back
DEADLINE_S = 0.000_5
_PLACES = (
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
)


def library() -> Path | None:
    """libfaketime for programs with threads, if it is there."""
    told = os.environ.get("LIBFAKETIME")
    places = [told] if told else list(_PLACES)
    return next((Path(place) for place in places if Path(place).exists()), None)


def run(folder: Path) -> Iterator[Outcome]:
    preloaded = library()
    if preloaded is None:
        yield Outcome.skipped("the wall clock jumps", "libfaketime is not installed")
        return
    offset = folder / "offset"
    offset.write_text("+0")
    environment = {
        "LD_PRELOAD": str(preloaded),
        "FAKETIME_TIMESTAMP_FILE": str(offset),
        "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",  # what earlier versions call it
        "NO_FAKE_STAT": "1",
    }
    with running(ARTIFACT, folder, environment=environment, within_s=120) as gateway:
        load = asyncio.run(_jumped(gateway, offset))
        yield Outcome(
            f"jumps of {', '.join(list(JUMPS)[:-1])} and back under load",
            f"{load.in_words}, slowest {max(load.taken_s):.2f} s",
            not load.failures and max(load.taken_s) < SLOWEST_S,
        )
        lines = gateway.log()
        wrong = [line for line in lines if line["level"] in ("warning", "error")]
        yield Outcome(
            "what the log says of it", f"{len(wrong)} warnings or errors" + _first(wrong), not wrong
        )
        yield _deadline(gateway, offset)


async def _jumped(gateway: GatewayProcess, offset: Path) -> Load:
    async with ours(gateway.target) as client, loaded(client, images()) as load:
        await until_answered(load, ANSWERS_BETWEEN)
        for jump, seconds in JUMPS.items():
            offset.write_text(jump)
            await _until_known(gateway, seconds)
            await until_answered(load, ANSWERS_BETWEEN)
    return load


async def _until_known(gateway: GatewayProcess, seconds: int) -> None:
    """Wait until the log's times have jumped: else nothing was tried. Raises `TimeoutError`."""
    async with asyncio.timeout(KNOWN_WITHIN_S):
        while abs(_logged_at(gateway) - time.time() - seconds) > 60 + abs(seconds) * 0.01:
            await asyncio.sleep(0.05)


def _logged_at(gateway: GatewayProcess) -> float:
    """The time that the last line of the log gives."""
    *_, last, _ = gateway.stderr.read_text("utf-8").split("\n")
    return datetime.fromisoformat(json.loads(last)["time"]).timestamp()


def _deadline(gateway: GatewayProcess, offset: Path) -> Outcome:
    """A deadline is still kept while the clock is years ahead."""
    offset.write_text("+5y")
    time.sleep(2)
    ask = images()[0]
    with Client(gateway.target, ask.constraints) as client:
        client.infer(ask.given)
        try:
            client.infer(ask.given, deadline_s=DEADLINE_S)
        except CallError as error:
            code = error.code
        else:
            code = "OK"
        answer = client.infer(ask.given, deadline_s=10.0)
    happened = f"{DEADLINE_S * 1000} ms: {code}; 10 s: answered by {answer.subnet}"
    return Outcome("deadlines five years ahead", happened, code == "DEADLINE_EXCEEDED")


def _first(lines: list[dict[str, object]]) -> str:
    return f": {lines[0]['event']}" if lines else ""
