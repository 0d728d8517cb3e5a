"""What stands around every method: draining, the size of a message, errors, observation.

It knows no service by name beyond the prefixes it is given; health, reflection and probes pass
it untouched. `statuses.py` says what an error becomes.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import aclosing, asynccontextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast

import grpc
from google.protobuf.message import Message

from gateway.calls import Call, CallObserver, open_call, open_stream
from gateway.errors import Draining, InvalidRequest, NotReading
from gateway.parsing import Parse, parsed
from gateway.request_ids import HEADER, request_id
from gateway.statuses import abort, is_late, note

LARGEST_STREAMED = 4096  # bytes of each message that has no answer of its own: those are many
MOST_STALLED_S = 60.0  # that a caller may take to read a part of an answer

if TYPE_CHECKING:  # generic in the stubs only
    Handler = grpc.RpcMethodHandler[Any, Any]
    Continuation = Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]]
    Method = Callable[[Any, grpc.aio.ServicerContext[Any, Any]], Awaitable[Any]]
    StreamMethod = Callable[[Any, grpc.aio.ServicerContext[Any, Any]], AsyncGenerator[Any, None]]
    Context = grpc.aio.ServicerContext[Any, Any]
    Request = Message | AsyncIterator[Message]


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Serves the methods of `services` (full names), one `Call` for each answer. Those whose names
    are among `probes` pass untouched, also while the gateway drains.

    `largest_message` bounds a request in bytes before anything of it is parsed, and
    `largest_streamed` each message of a stream that is answered once. A caller that reads nothing
    of an answer in parts for `most_stalled_s` is given up. Observers see each call
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
        probes: Collection[str] = (),
        largest_streamed: int = LARGEST_STREAMED,
        most_stalled_s: float = MOST_STALLED_S,
    ) -> None:
        self._probes = probes
        self._prefixes = tuple(f"/{service}/" for service in services)
        self._largest_message, self._largest_streamed = largest_message, largest_streamed
        self._most_stalled_s = most_stalled_s
        self._observers = observers
        self._clock = clock
        self._serving: set[asyncio.Task[Any]] = set()
        self.turned_away = 0  # calls, while draining
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
        return handler if method in self._probes else self._wrapped(handler, method)

    def _wrapped(self, handler: Handler, method: str) -> Handler:
        parse = cast("Parse", handler.request_deserializer)
        if handler.request_streaming and handler.response_streaming:
            return grpc.stream_stream_rpc_method_handler(
                functools.partial(
                    self._serve_both, cast("StreamMethod", handler.stream_stream), method
                ),
                functools.partial(parsed, parse, self._largest_message),
                handler.response_serializer,
            )
        if handler.response_streaming:
            return grpc.unary_stream_rpc_method_handler(
                functools.partial(
                    self._serve_parts, cast("StreamMethod", handler.unary_stream), method
                ),
                functools.partial(parsed, parse, self._largest_message),
                handler.response_serializer,
            )
        if handler.request_streaming:
            return grpc.stream_unary_rpc_method_handler(
                functools.partial(self._serve_stream, cast("Method", handler.stream_unary), method),
                functools.partial(parsed, parse, self._largest_streamed),
                handler.response_serializer,
            )
        return grpc.unary_unary_rpc_method_handler(
            functools.partial(self._serve, cast("Method", handler.unary_unary), method),
            functools.partial(parsed, parse, self._largest_message),
            handler.response_serializer,
        )

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
        peer, own_id = context.peer(), _name(context)
        open_stream(lambda: _StreamedCall(method, peer, own_id, self._clock, self._observers))
        call, started = Call(method, peer, request_id=own_id), self._clock()
        try:
            async with self._guarded(call, context):
                read = self._until_drained(_well_formed(requests))
                async for response in serve(read, context):
                    yield response
        finally:
            if call.code != "OK":
                self._observe(call, started)

    async def _serve_parts(
        self, serve: StreamMethod, method: str, request: Request | InvalidRequest, context: Context
    ) -> None:
        """One request, and a stream of parts of its answer.

        They are written here and not yielded, so that a call which ends in the middle of a write
        ends as in any other place: what makes the parts is closed, and the call observed.
        """
        call, started = open_call(method, context.peer(), _name(context)), self._clock()
        try:
            async with self._guarded(call, context):
                if isinstance(request, InvalidRequest):
                    raise request
                async with aclosing(serve(request, context)) as parts:
                    async for part in parts:
                        await self._write(context, part)
        finally:
            self._observe(call, started)

    async def _write(self, context: Context, part: Any) -> None:
        """Raises `NotReading` where the caller takes no part for too long: it holds a place."""
        try:
            async with asyncio.timeout(self._most_stalled_s):
                await context.write(part)
        except TimeoutError:
            raise NotReading from None
        except grpc.aio.InternalError:  # the call has ended, and its cancellation is on the way
            raise asyncio.CancelledError from None

    async def _serve(
        self, serve: Method, method: str, request: Request | InvalidRequest, context: Context
    ) -> Any:
        call, started = open_call(method, context.peer(), _name(context)), self._clock()
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
        if self.draining:
            self.turned_away += 1
            await abort(context, call, Draining())
        self._serving.add(task)
        try:
            yield
        except asyncio.CancelledError:
            if self._given_up:
                await abort(context, call, Draining())
            call.code = "DEADLINE_EXCEEDED" if is_late(context) else "CANCELLED"
            raise
        except Exception as error:
            await abort(context, call, error)
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
        own_id: str,
        clock: Callable[[], float],
        observers: Sequence[CallObserver],
    ) -> None:
        self._method, self._peer, self._own_id = method, peer, own_id
        self._clock, self._observers = clock, observers

    def __enter__(self) -> Call:
        self._started = self._clock()
        self._call = open_call(self._method, self._peer, self._own_id)
        return self._call

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        if isinstance(error, Exception):
            note(self._call, error)
        elif error is not None:
            self._call.code = "CANCELLED"
        _observe(self._call, self._clock() - self._started, self._observers)
        return isinstance(error, Exception)


def _name(context: Context) -> str:
    """What the RPC is called in the logs; its caller learns that with its status."""
    own_id = request_id(context.invocation_metadata() or ())
    context.set_trailing_metadata(((HEADER, own_id),))
    return own_id


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
