"""Both clients against a real gateway."""

from __future__ import annotations

import io
import math
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from gateway.async_client import AsyncClient
from gateway.client import CallError, Client, Constraints, Inferred
from gateway.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.services.conftest import GatewayProcess, Start

ALPHA = Constraints("alpha")


def png() -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.zeros((20, 20), np.uint8)).save(file, "PNG")
    return file.getvalue()


def test_one_connection_for_all_calls(gateway: GatewayProcess) -> None:
    with Client(gateway.target, ALPHA) as client:
        by_image, by_array = client.infer(png()), client.infer(np.zeros((3, 1, 16, 16), np.float32))
        assert (by_image.logits.shape, by_array.logits.shape) == ((1, 10), (3, 10))
        assert client.select().subnet == by_image.subnet
        assert client.select(max_resolution=12).resolution == 12
        assert [known.name for known in client.device_classes()] == ["alpha", "beta"]
        with pytest.raises(CallError, match="UNIMPLEMENTED"):
            client.report_latency("alpha", [(by_image.subnet, 1.0)])


def test_a_stream_yields_answers_and_errors(gateway: GatewayProcess) -> None:
    with Client(gateway.target, ALPHA) as client:
        answers = list(client.infer_stream([png(), b"no image", png()]))
    assert [type(answer) for answer in answers] == [Inferred, CallError, Inferred]
    assert isinstance(answers[1], CallError)
    assert answers[1].code == "INVALID_ARGUMENT"


def test_what_goes_wrong_while_a_stream_is_asked_is_raised_after_the_answers(
    gateway: GatewayProcess,
) -> None:
    def given() -> Iterator[bytes]:
        yield png()
        raise KeyError("the caller's own")

    with Client(gateway.target, ALPHA) as client:
        with pytest.raises(KeyError, match="the caller's own"):
            list(client.infer_stream(given()))
        with pytest.raises(InvalidRequest):
            list(client.infer_stream([np.zeros((1, 1, 16, 16), np.complex64)]))


async def test_nor_does_it_cancel_who_asks_in_an_event_loop(gateway: GatewayProcess) -> None:
    seen: list[type] = []

    async def ask(client: AsyncClient) -> None:
        async for answer in client.infer_stream([png(), np.zeros((1, 1), np.complex64)]):
            seen.append(type(answer))

    async with AsyncClient(gateway.target, ALPHA) as client:
        with pytest.raises(InvalidRequest):
            await ask(client)
    assert seen == [Inferred]


@pytest.mark.parametrize("seconds", [-1.0, math.inf, math.nan])
def test_a_deadline_that_is_none_is_refused(gateway: GatewayProcess, seconds: float) -> None:
    with Client(gateway.target, ALPHA) as client:
        with pytest.raises(InvalidRequest, match="deadline_s"):
            client.infer(png(), deadline_s=seconds)
        with pytest.raises(CallError, match="DEADLINE_EXCEEDED"):
            client.infer(png(), deadline_s=0.0)


def test_a_stream_that_is_left_early_leaves_nothing_behind(gateway: GatewayProcess) -> None:
    def answered() -> float:
        return gateway.metric("compofa_requests_total", method="InferStream")

    before = answered()
    with Client(gateway.target, ALPHA) as client:
        stream = client.infer_stream(png() for _ in range(10_000))
        assert isinstance(next(stream), Inferred)
        stream.close()  # type: ignore[attr-defined]
        until = time.monotonic() + 20
        while gateway.metric("compofa_queue_depth") > 0:
            assert time.monotonic() < until
            time.sleep(0.01)
        seen = answered()
        assert seen - before < 5_000
        assert isinstance(client.infer(png()), Inferred)
        assert answered() == seen


async def test_the_same_in_an_event_loop(gateway: GatewayProcess) -> None:
    async with AsyncClient(gateway.target, ALPHA) as client:
        answer = await client.infer(png())
        assert (await client.select()).subnet == answer.subnet
        assert len(await client.device_classes()) == 2
        given = [png(), b"no image", png()]
        kinds = [type(each) async for each in client.infer_stream(given)]
        assert kinds == [Inferred, CallError, Inferred]
        with pytest.raises(CallError, match="UNIMPLEMENTED"):
            await client.report_latency("alpha", [(answer.subnet, 1.0)])


def test_a_draining_gateway_ends_the_stream_and_another_can_be_asked(start: Start) -> None:
    gateway = start()
    with Client(gateway.target, ALPHA) as client:
        stream = client.infer_stream(png() for _ in range(1_000_000))
        assert isinstance(next(stream), Inferred)
        gateway.ask_to_stop()
        with pytest.raises(CallError, match="UNAVAILABLE"):
            for _ in stream:
                pass
    assert gateway.process.wait(timeout=30) == 0
