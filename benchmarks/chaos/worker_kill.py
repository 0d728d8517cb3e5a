"""`kill -9` of a gateway's workers, one after another: another process takes the place of each."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

from benchmarks.chaos.load import ARTIFACT, Load, Plain, batches, loaded, until_answered
from benchmarks.chaos.outcome import Outcome, counted
from tests.gateway.workers import children
from tests.services.conftest import GatewayProcess, running

KILLS = 6
CALLERS = 8
ANSWERS_BETWEEN = 40
FAILURES = "compofa_worker_failures_total"


def run(folder: Path) -> Iterator[Outcome]:
    with running(ARTIFACT, folder, "--no-request-logs", within_s=120) as gateway:
        if not children.of(gateway.process.pid):
            yield Outcome.skipped("workers killed", "workers have no processes here")
            return
        load = asyncio.run(_killed(gateway))
        yield Outcome(
            f"{counted(KILLS, 'worker')} killed, a client without retries",
            load.in_words,
            not load.failures,
        )
        replaced = gateway.metric(FAILURES)
        yield Outcome(FAILURES, f"{replaced:g}", replaced == KILLS)


async def _killed(gateway: GatewayProcess) -> Load:
    async with Plain(gateway.target) as plain, loaded(plain, batches(), CALLERS) as load:
        for _ in range(KILLS):
            await until_answered(load, ANSWERS_BETWEEN)
            before = children.of(gateway.process.pid)
            children.kill(min(before))
            while not children.of(gateway.process.pid) - before:  # until another has been started
                await asyncio.sleep(0.01)
        await until_answered(load, ANSWERS_BETWEEN)
    return load
