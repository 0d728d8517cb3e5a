"""Asks a server again and again, as one process with one event loop; prints what it took as JSON.

    python benchmarks/serving/load.py grpc HOST:PORT --method /pkg.Service/Method --request FILE \\
        --in-flight 16 --seconds 5
    python benchmarks/serving/load.py http URL --request FILE --in-flight 1 --seconds 5

Closed loop: each of `in-flight` callers asks as soon as it has its answer. The request is sent as
the bytes in the file, and answers are not parsed, so that the client costs every server the same.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

WARM_UP_S = 1.0
ANY_SIZE = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]

Ask = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Found:
    """Answers, errors, and milliseconds of the answers' latency."""

    answers_per_s: float
    errors: int
    p50_ms: float
    p99_ms: float


def measured(arguments: list[str], in_flight: int, seconds: float) -> Found:
    """Run this file in a process of its own. Raises `CalledProcessError`."""
    command = [sys.executable, __file__, *arguments]
    command += ["--in-flight", str(in_flight), "--seconds", str(seconds)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return Found(**json.loads(done.stdout))


async def closed_loop(ask: Ask, in_flight: int, seconds: float) -> Found:
    """What was answered between the end of the warm-up and `seconds` later."""
    taken: list[float] = []
    errors = 0
    begins = time.perf_counter() + WARM_UP_S
    ends = begins + seconds

    async def caller() -> None:
        nonlocal errors
        while (asked := time.perf_counter()) < ends:
            try:
                await ask()
            except Exception:
                errors += 1
                await asyncio.sleep(0.01)
                continue
            if begins <= asked and (answered := time.perf_counter()) <= ends:
                taken.append(answered - asked)

    await asyncio.gather(*(caller() for _ in range(in_flight)))
    p50, p99 = np.percentile(np.array(taken or [float("nan")]) * 1000, (50, 99))
    return Found(len(taken) / seconds, errors, float(p50), float(p99))


async def _run(given: argparse.Namespace) -> Found:
    request = given.request.read_bytes()
    async with AsyncExitStack() as stack:
        make = _grpc if given.kind == "grpc" else _http
        ask = await make(stack, given, request)
        return await closed_loop(ask, given.in_flight, given.seconds)


async def _grpc(stack: AsyncExitStack, given: argparse.Namespace, request: bytes) -> Ask:
    import grpc

    channel = await stack.enter_async_context(grpc.aio.insecure_channel(given.target, ANY_SIZE))
    call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(given.method)

    async def ask() -> None:
        await call(request, timeout=30)

    return ask


async def _http(stack: AsyncExitStack, given: argparse.Namespace, request: bytes) -> Ask:
    import aiohttp

    session = await stack.enter_async_context(aiohttp.ClientSession())

    async def ask() -> None:
        async with session.post(given.target, data=request) as answer:
            await answer.read()
            answer.raise_for_status()

    return ask


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("kind", choices=("grpc", "http"))
    parser.add_argument("target")
    parser.add_argument("--method", default="/compofa.v1.SubnetGateway/Infer")
    parser.add_argument("--request", type=Path, required=True)
    parser.add_argument("--in-flight", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=5.0)
    json.dump(asdict(asyncio.run(_run(parser.parse_args()))), sys.stdout)


if __name__ == "__main__":
    main()
