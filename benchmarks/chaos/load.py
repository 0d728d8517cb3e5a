"""Callers that ask again and again while something happens, and what became of their calls."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, Self

import grpc
import numpy as np

from gateway.async_client import AsyncClient
from gateway.client_values import CallError, Inferred, Input, infer_request, inferred
from gateway.request import Constraints
from gateway.select import Candidates
from protos.compofa.v1 import gateway_pb2_grpc
from supernet import shipped
from supernet.latency import read_bundled_tables
from supernet.manifest import read_manifest
from tests.services.envoy import GATEWAY

ARTIFACT = shipped.artifact_folder()
REFERENCE = Constraints("reference-cpu")
CALLERS = 4
DEADLINE_S = 30.0


@dataclass(frozen=True, slots=True)
class Ask:
    """One kind of request. `name` says which input it is."""

    name: str
    given: Input
    constraints: Constraints = REFERENCE


@dataclass(frozen=True, slots=True)
class Failure:
    """A call that was not answered, and from when to when, by `time.monotonic`. `gateway` is the
    address that it went to, where an Envoy says so."""

    code: str
    message: str
    began: float
    ended: float
    gateway: str = ""


class LostError(CallError):
    """`gateway` is the address that the call went to, where an Envoy says so."""

    def __init__(self, target: str, error: grpc.aio.AioRpcError) -> None:
        super().__init__(target, error.code().name, error.details() or "")
        said = (*error.initial_metadata(), *error.trailing_metadata())
        self.gateway = next((str(value) for name, value in said if name == GATEWAY), "")


class Asker(Protocol):
    """What a load needs of a client."""

    async def infer(self, given: Input, constraints: Constraints, deadline_s: float) -> Inferred:
        """Raises `CallError`."""
        ...


class Plain:
    """Any gRPC client that nobody has told to try again."""

    def __init__(self, target: str) -> None:
        self._target = target
        options: list[tuple[str, int | str]] = [("grpc.enable_retries", 0)]
        if "," in target:
            config = '{"loadBalancingConfig": [{"round_robin": {}}]}'
            options.append(("grpc.service_config", config))
        self._channel = grpc.aio.insecure_channel(target, options)
        self._stub = gateway_pb2_grpc.SubnetGatewayStub(self._channel)

    async def infer(self, given: Input, constraints: Constraints, deadline_s: float) -> Inferred:
        try:
            response = await self._stub.Infer(infer_request(given, constraints), timeout=deadline_s)
        except grpc.aio.AioRpcError as error:
            raise LostError(self._target, error) from None
        return inferred(self._target, response)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._channel.close()


@dataclass(slots=True)
class Load:
    """What became of the calls of some callers so far."""

    answers: int = 0
    failures: list[Failure] = field(default_factory=list)
    taken_s: list[float] = field(default_factory=list)
    wrong: Counter[str] = field(default_factory=Counter)

    @property
    def in_words(self) -> str:
        failed = Counter(failure.code for failure in self.failures)
        codes = ", ".join(f"{count} {code}" for code, count in failed.most_common())
        return f"{self.answers:,} answered, " + (f"{codes} lost" if failed else "0 lost")

    @property
    def said(self) -> str:
        """The first words of what failures say, each once."""
        said = dict.fromkeys(failure.message[:200] for failure in self.failures)
        return "".join(f"; {message}" for message in list(said)[:3])

    def percentile_ms(self, percent: float) -> float:
        return float(np.percentile(self.taken_s or [0.0], percent)) * 1000


Check = Callable[[Ask, Inferred], str | None]
"""What is wrong with an answer, or nothing."""


@asynccontextmanager
async def loaded(
    asker: Asker,
    asks: Sequence[Ask],
    callers: int = CALLERS,
    check: Check | None = None,
    pause_s: float = 0.0,
) -> AsyncIterator[Load]:
    """Ask while the context is open. Calls that are under way at its end come to theirs."""
    load, stop = Load(), asyncio.Event()
    tasks = [
        asyncio.create_task(_ask(asker, asks, place, load, stop, check, pause_s))
        for place in range(callers)
    ]
    try:
        yield load
    finally:
        stop.set()
        await asyncio.gather(*tasks)


async def _ask(
    asker: Asker,
    asks: Sequence[Ask],
    place: int,
    load: Load,
    stop: asyncio.Event,
    check: Check | None,
    pause_s: float,
) -> None:
    while not stop.is_set():
        ask, began = asks[place % len(asks)], time.monotonic()
        place += 1
        try:
            answer = await asker.infer(ask.given, ask.constraints, DEADLINE_S)
        except CallError as error:
            gateway = error.gateway if isinstance(error, LostError) else ""
            load.failures.append(Failure(error.code, str(error), began, time.monotonic(), gateway))
            await asyncio.sleep(0.01)  # nobody asks in a loop that is only as fast as refusals
        else:
            load.answers += 1
            load.taken_s.append(time.monotonic() - began)
            if check is not None and (wrong := check(ask, answer)) is not None:
                load.wrong[wrong] += 1
        await asyncio.sleep(pause_s)


async def until_answered(load: Load, more: int, within_s: float = 60.0) -> None:
    """Wait until so many more calls are answered. Raises `TimeoutError`."""
    wanted = load.answers + more
    async with asyncio.timeout(within_s):
        while load.answers < wanted:
            await asyncio.sleep(0.01)


async def answers_of(target: str, count: int) -> Load:
    """So many answers to our client, one after the other."""
    async with ours(target) as client, loaded(client, images()) as load:
        await until_answered(load, count)
    return load


def images(each_class: int = 1) -> list[Ask]:
    """Real images that ship with the net."""
    folders = sorted(path for path in (ARTIFACT.parent / "images").iterdir() if path.is_dir())
    files: list[Path] = [f for folder in folders for f in sorted(folder.iterdir())[:each_class]]
    return [Ask(f"{file.parent.name}/{file.name}", file.read_bytes()) for file in files]


def batches(rows: int = 32, count: int = 4) -> list[Ask]:
    """Raw tensors that keep an engine busy for some milliseconds."""
    rng = np.random.default_rng(0)
    shape = (rows, 1, 28, 28)
    return [Ask(f"batch {n}", rng.standard_normal(shape, np.float32)) for n in range(count)]


def ours(target: str) -> AsyncClient:
    """The project's own client, which tries again what may be worth it."""
    return AsyncClient(target, REFERENCE)


def candidates() -> Candidates:
    """What the reference may be served."""
    tables = {table.device_class: table for table in read_bundled_tables(ARTIFACT)}
    return Candidates(read_manifest(ARTIFACT).catalog, tables[REFERENCE.device_class])
