"""What stands around every method: draining, the size of a message, errors, observation.

The one place where errors become gRPC statuses. It knows no service by name beyond the
prefixes it is given; health and reflection pass it untouched.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, cast

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]
from grpc_status import rpc_status

from gateway.calls import Call, CallObserver, open_call
from gateway.errors import Draining, GatewayError, InvalidRequest, QueueFull

LARGEST_STREAMED = 4096  # bytes of each message in a stream: those are many, and small
_LONGEST_MESSAGE = 1000  # characters; a status travels in a header, and headers are bounded
_DEADLINE_SLACK_S = 0.02  # gRPC ends a call a little before or after its deadline
_log = logging.getLogger("gateway.errors")

if TYPE_CHECKING:  # generic in the stubs only
    Handler = grpc.RpcMethodHandler[Any, Any]
    Continuation = Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]]
    Parse = Callable[[bytes], Message]
    Method = Callable[[Any, grpc.aio.ServicerContext[Any, Any]], Awaitable[Any]]
    Context = grpc.aio.ServicerContext[Any, Any]
    Request = Message | AsyncIterator[Message]


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Serves the methods of `services` (full names) that answer once, one `Call` each.

    `largest_message` bounds a request in bytes before anything of it is parsed, and
    `largest_streamed` each message of a stream. Observers see each call once, when it has ended.
    Once `draining` is set, new calls are turned away.
    """

    def __init__(
        self,
        services: Sequence[str],
        largest_message: int,
        observers: Sequence[CallObserver],
        clock: Callable[[], float] = time.perf_counter,
        *,
        largest_streamed: int = LARGEST_STREAMED,
    ) -> None:
        self._prefixes = tuple(f"/{service}/" for service in services)
        self._largest_message, self._largest_streamed = largest_message, largest_streamed
        self._observers = observers
        self._clock = clock
        self._serving: set[asyncio.Task[Any]] = set()
        self._given_up = False
        self.draining = False

    @property
    def in_flight(self) -> int:
        """How many calls are being served."""
        return len(self._serving)

    def give_up(self) -> None:
        """End the calls in flight as the new ones: UNAVAILABLE, once their tasks run again."""
        self.draining = self._given_up = True
        for task in self._serving:
            task.cancel()

    async def intercept_service(
        self,
        continuation: Continuation,
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        handler = await continuation(handler_call_details)
        if handler is None or not handler_call_details.method.startswith(self._prefixes):
            return handler
        method = handler_call_details.method.rpartition("/")[2]
        parse = cast("Parse", handler.request_deserializer)
        assert not handler.response_streaming, f"{method}: nothing here observes such a call"
        if handler.request_streaming:
            return grpc.stream_unary_rpc_method_handler(
                functools.partial(self._serve_stream, cast("Method", handler.stream_unary), method),
                functools.partial(self._parse, parse, self._largest_streamed),
                handler.response_serializer,
            )
        return grpc.unary_unary_rpc_method_handler(
            functools.partial(self._serve, cast("Method", handler.unary_unary), method),
            functools.partial(self._parse, parse, self._largest_message),
            handler.response_serializer,
        )

    def _parse(self, parse: Parse, largest: int, raw: bytes) -> Message | InvalidRequest:
        """The message, or what is wrong with it: gRPC would turn an exception into INTERNAL.

        No frame that an exception's traceback could keep alive holds the raw bytes.
        """
        if len(raw) > largest:
            expected = f"at most {largest} bytes"
            return InvalidRequest("request", len(raw), expected)
        try:
            return parse(raw)
        except DecodeError:
            expected = "a protobuf message of this method's type"
            return InvalidRequest("request", raw[:16], expected)

    async def _serve_stream(
        self,
        serve: Method,
        method: str,
        requests: AsyncIterator[Message | InvalidRequest],
        context: Context,
    ) -> Any:
        return await self._serve(serve, method, _well_formed(requests), context)

    async def _serve(
        self, serve: Method, method: str, request: Request | InvalidRequest, context: Context
    ) -> Any:
        call, started = open_call(method, context.peer()), self._clock()
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        try:
            if self.draining:
                raise Draining
            if isinstance(request, InvalidRequest):
                raise request
            return await serve(request, context)
        except asyncio.CancelledError:
            if self._given_up:
                await _abort(context, call, Draining())
            call.code = "DEADLINE_EXCEEDED" if _is_late(context) else "CANCELLED"
            raise
        except Exception as error:
            await _abort(context, call, error)
        finally:
            self._serving.discard(task)
            call.seconds = self._clock() - started
            for observe in self._observers:
                observe(call)


async def _well_formed(
    requests: AsyncIterator[Message | InvalidRequest],
) -> AsyncIterator[Message]:
    """The messages of a stream; ends it where one is none."""
    async for request in requests:
        if isinstance(request, InvalidRequest):
            raise request
        yield request


def _is_late(context: Context) -> bool:
    left = cast("float | None", context.time_remaining())  # None where there is no deadline
    return left is not None and left < _DEADLINE_SLACK_S


async def _abort(context: Context, call: Call, error: Exception) -> NoReturn:
    """End the RPC with the error's status; what is not ours to show stays in the log."""
    if isinstance(error, GatewayError):
        call.code, call.error = error.code, error.safe_message[:_LONGEST_MESSAGE]
    else:
        call.code, call.error = "INTERNAL", "internal error"
        _log.error("internal error", exc_info=error, extra={"fields": {"method": call.method}})
    code = grpc.StatusCode[call.code]
    await context.abort(code, call.error, _details(code, call.error, error))


def _details(code: grpc.StatusCode, message: str, error: Exception) -> Any:
    """Trailing metadata with google.rpc.RetryInfo, where the client should come back."""
    if not isinstance(error, QueueFull):
        return ()
    delay = duration_pb2.Duration()
    delay.FromMilliseconds(max(1, round(error.retry_after_s * 1000)))
    retry = any_pb2.Any()
    retry.Pack(error_details_pb2.RetryInfo(retry_delay=delay))
    status = status_pb2.Status(code=code.value[0], message=message, details=[retry])
    return rpc_status.to_status(status).trailing_metadata
