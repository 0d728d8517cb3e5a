"""Requests with a deadline, asked at given times however late answers are."""

from __future__ import annotations

import asyncio
import gc
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

import grpc
import numpy as np
from numpy.typing import NDArray

from gateway.capacity.preparation import photograph
from protos.compofa.v1 import gateway_pb2, gateway_pb2_grpc

PICTURES, SIDE = 32, 256

Times = NDArray[np.float64]
Choose = Callable[[], str]
"""The device class of the next request."""


@dataclass(slots=True)
class Outcome:
    """Of one request: seconds from its arrival to its answer, and the answer's accuracy."""

    arrived_s: float
    taken_s: float
    accuracy: float | None


def photographs() -> list[bytes]:
    rng = np.random.default_rng(0)
    return [photograph(SIDE, rng) for _ in range(PICTURES)]


async def replay(
    target: str,
    arrivals: Times,
    images: list[bytes],
    deadline_s: float,
    choose: Choose,
    heard: Callable[[bool], None],
) -> list[Outcome]:
    """Ask at the trace's times, however late answers are."""
    rng, outcomes = random.Random(0), []
    gc.collect()
    gc.freeze()  # a collection in the client would make every answer under way late
    async with grpc.aio.insecure_channel(target) as channel:
        stub = gateway_pb2_grpc.SubnetGatewayStub(channel)
        await channel.channel_ready()
        began = time.perf_counter() + 0.5

        async def ask(due: float) -> None:
            request = gateway_pb2.InferRequest(device_class=choose(), image=rng.choice(images))
            accuracy = None
            try:
                left_s = deadline_s - (time.perf_counter() - due)
                response = await stub.Infer(request, timeout=max(0.001, left_s))
                accuracy = response.expected_accuracy
            except grpc.RpcError:
                pass
            taken_s = time.perf_counter() - due
            heard(accuracy is not None and taken_s <= deadline_s)
            outcomes.append(Outcome(due - began, taken_s, accuracy))

        asking = set()
        for arrival in arrivals.tolist():
            due = began + arrival
            if (wait := due - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            task = asyncio.create_task(ask(due))
            asking.add(task)
            task.add_done_callback(asking.discard)
        await asyncio.gather(*asking)
    return outcomes
