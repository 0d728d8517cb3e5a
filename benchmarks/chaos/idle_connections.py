"""1,000 connections that say nothing: what they cost, and that others are answered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from benchmarks.chaos.connections import connected
from benchmarks.chaos.descriptors import descriptors, unlimited, until_closed
from benchmarks.chaos.load import ARTIFACT, answers_of
from benchmarks.chaos.outcome import Outcome
from tests.services.conftest import running

COUNT = 1000
IDLE_S = 25.0  # longer than a gateway waits for a handshake
ANSWERS = 500
MOST_KIB = 256  # of memory for one
KIB = 1024


def run(folder: Path) -> Iterator[Outcome]:
    with (
        unlimited(),
        running(ARTIFACT, folder, "--no-request-logs", within_s=120) as gateway,
        ExitStack() as stack,
    ):
        gateway.until_warm()
        alone = asyncio.run(answers_of(gateway.target, ANSWERS))
        before, open_before = gateway.resident_bytes(), descriptors(gateway)
        made = connected(gateway.port, COUNT, stack)
        time.sleep(IDLE_S)
        alive = sum(connection.is_answered() for connection in made)
        grown = (gateway.resident_bytes() - before) / COUNT / KIB
        yield Outcome(
            f"{COUNT:,} connections, idle for {IDLE_S:g} s",
            f"{alive:,} alive; {grown:.1f} KiB of memory each",
            alive == COUNT and grown < MOST_KIB,
        )
        load = asyncio.run(answers_of(gateway.target, ANSWERS))
        yield Outcome(
            "requests meanwhile",
            f"{load.in_words}; median {load.percentile_ms(50):.1f} ms, "
            f"{alone.percentile_ms(50):.1f} ms before",
            not load.failures,
        )
        stack.close()
        left = until_closed(gateway, open_before)
        yield Outcome("once they are gone", f"{left} descriptors more than before", left <= 2)
