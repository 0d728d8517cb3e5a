"""Two gateways behind Envoy, each restarted in turn while callers ask: nobody notices.

Once as documented, and once with an Envoy that repeats nothing, to see what that is worth.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

from benchmarks.chaos.fleet import Fleet, fleet
from benchmarks.chaos.load import Load, Plain, images, loaded, ours, until_answered
from benchmarks.chaos.outcome import Outcome, counted
from tests.services.envoy import Envoy, running_envoy

ROUNDS = 2
ANSWERS_BETWEEN = 100


def run(folder: Path) -> Iterator[Outcome]:
    with fleet(folder, places=2) as gateways:
        for place in range(2):
            gateways.start(place)
        for retries in (True, False):
            with running_envoy(folder, gateways.ports, retries=retries) as envoy:
                envoy.until_healthy(2)
                plain, own, statuses = asyncio.run(_restarted(gateways, envoy))
                repeated = envoy.counted("upstream_rq_retry")
            how = "Envoy as documented" if retries else "an Envoy without retries"
            restarts = counted(len(statuses), "restart")
            by_envoy = f"; Envoy repeated {repeated}" if retries else ""
            yield Outcome(
                f"{how}, {restarts}, our client",
                own.in_words + by_envoy + own.said,
                not own.failures and not any(statuses) if retries else None,
            )
            yield Outcome(
                f"{how}, {restarts}, a client without retries",
                plain.in_words + plain.said,
                not plain.failures if retries else None,
            )


async def _restarted(gateways: Fleet, envoy: Envoy) -> tuple[Load, Load, list[int]]:
    """The loads of a client without retries and of ours, and the gateways' exit statuses."""
    statuses = []
    asks = images()
    async with (
        Plain(envoy.target) as plain,
        ours(envoy.target) as own,
        loaded(plain, asks) as plain_load,
        loaded(own, asks) as own_load,
    ):
        for _ in range(ROUNDS):
            for place in range(2):
                await until_answered(own_load, ANSWERS_BETWEEN)
                statuses.append(await asyncio.to_thread(gateways.stop, place))
                await until_answered(own_load, ANSWERS_BETWEEN)
                await asyncio.to_thread(gateways.start, place)
                await asyncio.to_thread(envoy.until_healthy, 2)
        await until_answered(own_load, ANSWERS_BETWEEN)
    return plain_load, own_load, statuses
