"""`kill -9` of one of two gateways: what was in flight on it is lost, unless the client retries."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.chaos.fleet import Fleet, fleet
from benchmarks.chaos.load import Failure, Load, Plain, batches, loaded, ours, until_answered
from benchmarks.chaos.outcome import Outcome, counted
from tests.services.envoy import Envoy, running_envoy

KILLS = 4
CALLERS = 8
ANSWERS_BETWEEN = 40


def run(folder: Path) -> Iterator[Outcome]:
    with fleet(folder, places=2) as gateways:
        for place in range(2):
            gateways.start(place)
        with running_envoy(folder, gateways.ports) as envoy:
            yield from _outcomes("behind Envoy", gateways, envoy.target, envoy)
        target = "ipv4:" + ",".join(f"127.0.0.1:{port}" for port in gateways.ports)
        yield from _outcomes("round_robin, no Envoy", gateways, target, None)


def _outcomes(how: str, gateways: Fleet, target: str, envoy: Envoy | None) -> Iterator[Outcome]:
    plain, own, killed = asyncio.run(_killed(gateways, target, envoy))
    kills = counted(len(killed), "kill")
    late = [f for f in plain.failures if not _in_flight(f, killed)]
    at_once = len(plain.failures) <= CALLERS * KILLS
    happened = f"{plain.in_words}, {counted(len(late), 'of them', 'of them')} asked after a kill"
    yield Outcome(
        f"{how}, {kills}, a client without retries",
        happened + "".join(f"; {f.message}" for f in late[:1]),
        # Without Envoy a client may still be waiting to connect to the one that came back last.
        at_once and not late if envoy else None,
    )
    yield Outcome(f"{how}, {kills}, our client", own.in_words, not own.failures)


def _in_flight(failure: Failure, killed: list[tuple[float, float]]) -> bool:
    """Whether a call was under way when a gateway was killed."""
    return any(failure.began <= gone and failure.ended >= began for began, gone in killed)


async def _killed(
    gateways: Fleet, target: str, envoy: Envoy | None
) -> tuple[Load, Load, list[tuple[float, float]]]:
    """The loads of both clients, and from when to when each gateway was being killed."""
    killed = []
    asks = batches()
    async with (
        Plain(target) as plain,
        ours(target) as own,
        loaded(plain, asks, CALLERS) as plain_load,
        loaded(own, asks, CALLERS) as own_load,
    ):
        for number in range(KILLS):
            await until_answered(plain_load, ANSWERS_BETWEEN)
            began = time.monotonic()
            gateways.kill(number % 2)  # without letting the callers do anything meanwhile
            killed.append((began, time.monotonic()))
            await until_answered(own_load, ANSWERS_BETWEEN)
            await asyncio.to_thread(gateways.start, number % 2)
            if envoy is not None:
                await asyncio.to_thread(envoy.until_healthy, 2)
        await until_answered(plain_load, ANSWERS_BETWEEN)
    return plain_load, own_load, killed
