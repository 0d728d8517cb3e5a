"""One image, asked of every device class as an `Infer` call would: same checks, same counting.

Knows no HTTP. What becomes of the calls is in them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable

from gateway.calls import Call, CallObserver, open_call
from gateway.errors import Draining, GatewayError, TooFast
from gateway.pipeline import Pipeline
from gateway.request import Constraints, ImageInput
from gateway.request_ids import request_id
from gateway.security.rates import Rates
from gateway.services.messages import InputLimits, check_size
from gateway.statuses import note

METHOD = "Infer"
DEADLINE_S = 10.0
AT_ONCE = 4  # classes; the page is no reason to turn others' requests away


class Asker:
    """`limits` bounds an image, `rates` how many classes one address may ask a second; `observe`
    is told of each call as it ends."""

    def __init__(
        self,
        pipeline: Pipeline,
        limits: InputLimits,
        rates: Rates | None,
        observe: CallObserver,
        is_draining: Callable[[], bool],
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._pipeline, self._limits, self._rates = pipeline, limits, rates
        self._observe, self._is_draining, self._clock = observe, is_draining, clock

    @property
    def max_image_bytes(self) -> int:
        return self._limits.image_bytes

    async def ask(self, image: bytes, device_classes: Iterable[str], address: str) -> list[Call]:
        """A call for each class, ended well or not, in that order."""
        name, room = request_id(()), asyncio.Semaphore(AT_ONCE)

        async def ask_one(device_class: str) -> Call:
            async with room:
                return await self._ask(image, device_class, address, name)

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(ask_one(each)) for each in device_classes]
        return [task.result() for task in tasks]

    async def _ask(self, image: bytes, device_class: str, address: str, name: str) -> Call:
        call, started = open_call(METHOD, f"page:{address}", name), self._clock()
        call.device_class = device_class
        try:
            self._admit(image, address)
            answer = await self._pipeline.infer(
                ImageInput(image), Constraints(device_class), DEADLINE_S
            )
            call.answered(answer)
        except asyncio.CancelledError:
            call.code = "CANCELLED"
            raise
        except Exception as error:
            note(call, error)
        finally:
            call.seconds = self._clock() - started
            self._observe(call)
        return call

    def _admit(self, image: bytes, address: str) -> None:
        """Raises `GatewayError`."""
        if self._is_draining():
            raise Draining
        wait_s = self._rates.take(f"address {address}") if self._rates else 0.0
        if wait_s > 0:
            raise TooFast(wait_s)
        check_size("image", len(image), self._limits.image_bytes)


def refused_by_all(calls: list[Call]) -> GatewayError | None:
    """What is wrong with the image itself, where no class could be asked with it."""
    if calls and all(call.code == "INVALID_ARGUMENT" for call in calls):
        return _Refused(calls[0].error)
    return None


class _Refused(GatewayError):  # noqa: N818 - named for the answer it is
    """The image, by every class."""

    code = "INVALID_ARGUMENT"
