"""File descriptors run out: who is connected is served on, and all is well once there are some."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import time
import urllib.error
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.chaos.connections import Connection, connected
from benchmarks.chaos.load import ARTIFACT, REFERENCE, Load, images, loaded, ours, until_answered
from benchmarks.chaos.outcome import Outcome, counted
from gateway.client import Client
from tests.services.conftest import GatewayProcess, running

FEW_FILES = 256
MANY = 400
EXHAUSTED_S = 5.0
MOST_CPU = 0.3  # of a core, while nobody asks anything: no loop spins on what it cannot accept


def run(folder: Path) -> Iterator[Outcome]:
    for bound in (True, False):
        place = folder / ("bounded" if bound else "unbounded")
        place.mkdir()
        # Without a bound of its own below the kernel's, connections take every descriptor.
        options = () if bound else ("--max-connections", "100000")
        with (
            at_most(FEW_FILES),
            running(ARTIFACT, place, "--no-request-logs", *options, within_s=120) as gateway,
        ):
            pass_on = _bounded if bound else _exhausted
            with unlimited():
                yield from pass_on(gateway)


@contextmanager
def at_most(files: int) -> Iterator[None]:
    """What is started within may have so many open files."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@contextmanager
def unlimited() -> Iterator[None]:
    """This process may have as many as it ever could."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def _bounded(gateway: GatewayProcess) -> Iterator[Outcome]:
    with ExitStack() as stack:
        load, let_in = asyncio.run(_flooded(gateway, stack))
        yield Outcome(
            f"{MANY} connections, {FEW_FILES} descriptors, connections bounded by default",
            f"{let_in} let in; who was connected: {load.in_words}",
            not load.failures and 0 < let_in < MANY,
        )
        yield _metrics(gateway, "metrics meanwhile")
    yield from _recovered(gateway)


def _exhausted(gateway: GatewayProcess) -> Iterator[Outcome]:
    with ExitStack() as stack:
        load, _ = asyncio.run(_flooded(gateway, stack))
        left = FEW_FILES - descriptors(gateway)
        yield Outcome(
            f"{MANY} connections, {FEW_FILES} descriptors, --max-connections 100000",
            f"{left} descriptors left; who was connected: {load.in_words}",
            not load.failures and left <= 2,
        )
    yield _waiting(gateway)
    yield from _recovered(gateway)


def _waiting(gateway: GatewayProcess) -> Outcome:
    """What it costs that somebody has connected to each port, and cannot be let in."""
    limits = resource.prlimit(gateway.process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(gateway.process.pid, resource.RLIMIT_NOFILE, (16, limits[1]))
    try:
        with ExitStack() as stack:
            for port in (gateway.port, gateway.metrics_port):
                stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            cpu = _cpu_share(gateway, EXHAUSTED_S)
    finally:
        resource.prlimit(gateway.process.pid, resource.RLIMIT_NOFILE, limits)
    happened = f"{cpu:.0%} of a core in {EXHAUSTED_S:g} s"
    return Outcome("not one descriptor, and somebody at both ports", happened, cpu < MOST_CPU)


async def _flooded(gateway: GatewayProcess, stack: ExitStack) -> tuple[Load, int]:
    """The load of a client that was there before, and how many were let in after it."""
    async with ours(gateway.target) as client, loaded(client, images()) as load:
        await until_answered(load, 50)
        made = await asyncio.to_thread(connected, gateway.port, MANY, stack)
        let_in = await asyncio.to_thread(_answering, made)
        await until_answered(load, 200)
    return load, let_in


def _answering(made: list[Connection]) -> int:
    return sum(connection.is_answered(within_s=0.2) for connection in made)


def _recovered(gateway: GatewayProcess) -> Iterator[Outcome]:
    """Once the others are gone."""
    began = time.monotonic()
    with Client(gateway.target, REFERENCE) as client:
        client.infer(images()[0].given)
    yield Outcome(
        "a new client, once there are some", f"answered in {time.monotonic() - began:.2f} s", True
    )
    yield _metrics(gateway, "metrics after it")


def _metrics(gateway: GatewayProcess, what: str) -> Outcome:
    try:
        lines = counted(len(gateway.http("/metrics").splitlines()), "line")
    except (urllib.error.URLError, OSError) as error:
        return Outcome(what, f"{type(error).__name__}: {error}", False)
    return Outcome(what, lines, True)


def descriptors(gateway: GatewayProcess) -> int:
    """How many a gateway has open."""
    return len(os.listdir(f"/proc/{gateway.process.pid}/fd"))  # noqa: PTH208 - links to what is gone


def until_closed(gateway: GatewayProcess, before: int) -> int:
    """How many descriptors are left over, after a while at most."""
    until = time.monotonic() + 10
    while (left := descriptors(gateway) - before) > 0 and time.monotonic() < until:
        time.sleep(0.1)
    return left


def _cpu_share(gateway: GatewayProcess, seconds: float) -> float:
    """Of one core, over the next seconds."""
    before, began = _cpu_s(gateway), time.monotonic()
    time.sleep(seconds)
    return (_cpu_s(gateway) - before) / (time.monotonic() - began)


def _cpu_s(gateway: GatewayProcess) -> float:
    fields = Path(f"/proc/{gateway.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
