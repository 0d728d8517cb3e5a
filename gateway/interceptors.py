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
from contextlib import asynccontextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, cast

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]
from grpc_status import rpc_status

from gateway.calls import Call, CallObserver, open_call, open_stream
from gateway.errors import Draining, GatewayError, InvalidRequest

LARGEST_STREAMED = 4096  # bytes of each message that has no answer of its own: those are many
_DEADLINE_SLACK_S = 0.02  # gRPC ends a call a little before or after its deadline
_log = logging.getLogger("gateway.errors")

if TYPE_CHECKING:  # generic in the stubs only
    Handler = grpc.RpcMethodHandler[Any, Any]
    Continuation = Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]]
    Parse = Callable[[bytes], Message]
    Method = Callable[[Any, grpc.aio.ServicerContext[Any, Any]], Awaitable[Any]]
    StreamMethod = Callable[[Any, grpc.aio.ServicerContext[Any, Any]], AsyncIterator[Any]]
    Context = grpc.aio.ServicerContext[Any, Any]
    Request = Message | AsyncIterator[Message]


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Serves the methods of `services` (full names), one `Call` for each answer.

    `largest_message` bounds a request in bytes before anything of it is parsed, and
    `largest_streamed` each message of a stream that is answered once. Observers see each call
    once, when it has ended. After `drain` new calls are turned away, and streams are read no
    further.
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
        self._draining = asyncio.Event()

    @property
    def in_flight(self) -> int:
        """How many calls are being served."""
        return len(self._serving)

    @property
    def draining(self) -> bool:
        return self._draining.is_set()

    def drain(self) -> None:
        """Take nothing new, and let what is in flight end."""
        self._draining.set()

    def give_up(self) -> None:
        """End the calls in flight as the new ones: UNAVAILABLE, once their tasks run again."""
        self.drain()
        self._given_up = True
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
        if handler.response_streaming:
            assert handler.request_streaming, f"{method}: nothing here observes such a call"
            serve = cast("StreamMethod", handler.stream_stream)
            return grpc.stream_stream_rpc_method_handler(
                functools.partial(self._serve_both, serve, method),
                functools.partial(self._parse, parse, self._largest_message),
                handler.response_serializer,
            )
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

    async def _serve_both(
        self,
        serve: StreamMethod,
        method: str,
        requests: AsyncIterator[Message | InvalidRequest],
        context: Context,
    ) -> AsyncIterator[Any]:
        """A stream of answers. It is a call of its own only where it fails."""
        peer = context.peer()
        open_stream(lambda: _StreamedCall(method, peer, self._clock, self._observers))
        call, started = Call(method, peer), self._clock()
        try:
            async with self._guarded(call, context):
                read = self._until_drained(_well_formed(requests))
                async for response in serve(read, context):
                    yield response
        finally:
            if call.code != "OK":
                self._observe(call, started)

    async def _serve(
        self, serve: Method, method: str, request: Request | InvalidRequest, context: Context
    ) -> Any:
        call, started = open_call(method, context.peer()), self._clock()
        try:
            async with self._guarded(call, context):
                if isinstance(request, InvalidRequest):
                    raise request
                return await serve(request, context)
        finally:
            self._observe(call, started)

    @asynccontextmanager
    async def _guarded(self, call: Call, context: Context) -> AsyncIterator[None]:
        """What is served within counts as in flight; an error in it ends the RPC."""
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        try:
            if self.draining:
                raise Draining
            yield
        except asyncio.CancelledError:
            if self._given_up:
                await _abort(context, call, Draining())
            call.code = "DEADLINE_EXCEEDED" if _is_late(context) else "CANCELLED"
            raise
        except Exception as error:
            await _abort(context, call, error)
        finally:
            self._serving.discard(task)

    def _observe(self, call: Call, started: float) -> None:
        _observe(call, self._clock() - started, self._observers)

    async def _until_drained(self, requests: AsyncIterator[Message]) -> AsyncIterator[Message]:
        """The messages until the stream ends; `Draining` where the gateway does before."""
        drained = asyncio.ensure_future(self._draining.wait())
        try:
            while True:
                read = asyncio.ensure_future(anext(requests, None))
                try:
                    await asyncio.wait((read, drained), return_when=asyncio.FIRST_COMPLETED)
                finally:
                    read.cancel()  # no more than a word where it is done
                if not read.done() or read.cancelled():
                    raise Draining
                if (request := read.result()) is None:
                    return
                yield request
        finally:
            drained.cancel()


class _StreamedCall:
    """One message of a stream; an error within ends this call, not the stream."""

    def __init__(
        self,
        method: str,
        peer: str,
        clock: Callable[[], float],
        observers: Sequence[CallObserver],
    ) -> None:
        self._method, self._peer, self._clock, self._observers = method, peer, clock, observers

    def __enter__(self) -> Call:
        self._started = self._clock()
        self._call = open_call(self._method, self._peer)
        return self._call

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        if isinstance(error, Exception):
            _note(self._call, error)
        elif error is not None:
            self._call.code = "CANCELLED"
        _observe(self._call, self._clock() - self._started, self._observers)
        return isinstance(error, Exception)


def _observe(call: Call, seconds: float, observers: Sequence[CallObserver]) -> None:
    call.seconds = seconds
    for observe in observers:
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


def _note(call: Call, error: Exception) -> None:
    """Keep an error in its call, and in the log where it is not one of ours."""
    call.failed(error)
    if not isinstance(error, GatewayError):
        _log.error("internal error", exc_info=error, extra={"fields": {"method": call.method}})


async def _abort(context: Context, call: Call, error: Exception) -> NoReturn:
    """End the RPC with the error's status; what is not ours to show stays in the log."""
    _note(call, error)
    await context.abort(grpc.StatusCode[call.code], call.error, _details(call))


def _details(call: Call) -> Any:
    """Trailing metadata with google.rpc.RetryInfo, where the client should come back."""
    if call.retry_after_s is None:
        return ()
    delay = duration_pb2.Duration()
    delay.FromMilliseconds(max(1, round(call.retry_after_s * 1000)))
    retry = any_pb2.Any()
    retry.Pack(error_details_pb2.RetryInfo(retry_delay=delay))
    code: int = grpc.StatusCode[call.code].value[0]
    status = status_pb2.Status(code=code, message=call.error, details=[retry])
    return rpc_status.to_status(status).trailing_metadata
