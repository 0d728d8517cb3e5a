"""`kill -9` of one of two gateways: what was in flight on it is lost, unless the client retries.

Envoy names the gateway that each call went to. Without it that is not known, and told is only what
was under way on either of them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.chaos.fleet import Fleet, fleet
from benchmarks.chaos.load import Failure, Load, Plain, batches, loaded, ours, until_answered
from benchmarks.chaos.outcome import Outcome, counted
from tests.services.envoy import Envoy, running_envoy

KILLS = 4
CALLERS = 8
ANSWERS_BETWEEN = 40


@dataclass(frozen=True, slots=True)
class Kill:
    """Of the gateway at an address, from when to when, by `time.monotonic`."""

    gateway: str
    began: float
    gone: float

    def is_meanwhile(self, failure: Failure) -> bool:
        """Whether a call was under way, wherever."""
        return failure.began <= self.gone and failure.ended >= self.began

    def explains(self, failure: Failure) -> bool:
        """Whether a call was under way there."""
        return self.is_meanwhile(failure) and failure.gateway == self.gateway


def run(folder: Path) -> Iterator[Outcome]:
    with fleet(folder, places=2) as gateways:
        for place in range(2):
            gateways.start(place)
        with running_envoy(folder, gateways.ports, names_gateway=True) as envoy:
            yield from _outcomes("behind Envoy", gateways, envoy.target, envoy)
        target = "ipv4:" + ",".join(f"127.0.0.1:{port}" for port in gateways.ports)
        yield from _outcomes("round_robin, no Envoy", gateways, target, None)


def _outcomes(how: str, gateways: Fleet, target: str, envoy: Envoy | None) -> Iterator[Outcome]:
    plain, own, killed = asyncio.run(_killed(gateways, target, envoy))
    kills = counted(len(killed), "kill")
    yield _lost(f"{how}, {kills}, a client without retries", plain, killed, envoy is not None)
    yield Outcome(f"{how}, {kills}, our client", own.in_words, not own.failures)


def _lost(tried: str, load: Load, killed: Sequence[Kill], are_named: bool) -> Outcome:
    """What a kill does not explain."""
    explains = Kill.explains if are_named else Kill.is_meanwhile
    others = [f for f in load.failures if not any(explains(kill, f) for kill in killed)]
    not_there = "in flight on the killed gateway" if are_named else "in flight then, by time alone"
    happened = f"{load.in_words}, {len(others):,} of them not {not_there}"
    at_once = len(load.failures) <= CALLERS * KILLS
    return Outcome(
        tried,
        happened + "".join(f"; {f.message}" for f in others[:1]),
        # Without Envoy a client may still be waiting to connect to the one that came back last.
        at_once and not others if are_named else None,
    )


async def _killed(
    gateways: Fleet, target: str, envoy: Envoy | None
) -> tuple[Load, Load, list[Kill]]:
    """The loads of both clients, and the kills."""
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
            place, began = number % 2, time.monotonic()
            gateways.kill(place)  # without letting the callers do anything meanwhile
            address = f"127.0.0.1:{gateways.ports[place]}"
            killed.append(Kill(address, began, time.monotonic()))
            await until_answered(own_load, ANSWERS_BETWEEN)
            await asyncio.to_thread(gateways.start, place)
            if envoy is not None:
                await asyncio.to_thread(envoy.until_healthy, 2)
        await until_answered(plain_load, ANSWERS_BETWEEN)
    return plain_load, own_load, killed
