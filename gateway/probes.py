"""What stands around health and probes, which no `Call` is opened for: the form of their messages.

gRPC itself would answer bytes that are no message with UNKNOWN, and log a traceback.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Collection
from typing import TYPE_CHECKING, Any, cast

import grpc
from google.protobuf.message import Message

from gateway.errors import InvalidRequest
from gateway.parsing import Parse, parsed

LARGEST = 4096  # bytes of a message: names of services and models

if TYPE_CHECKING:  # generic in the stubs only
    Handler = grpc.RpcMethodHandler[Any, Any]
    Continuation = Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]]
    Context = grpc.aio.ServicerContext[Any, Any]
    Method = Callable[[Message, Context], Awaitable[Any]]


class ProbeInterceptor(grpc.aio.ServerInterceptor):
    """Answers INVALID_ARGUMENT where a message to one of `methods` (full names) is none, or larger
    than `LARGEST`."""

    def __init__(self, methods: Collection[str]) -> None:
        self._methods = methods

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Handler | None:
        handler = await continuation(handler_call_details)
        if handler is None or handler_call_details.method not in self._methods:
            return handler
        parse = functools.partial(parsed, cast("Parse", handler.request_deserializer), LARGEST)
        if handler.response_streaming:
            serve = functools.partial(_serve, cast("Method", handler.unary_stream))
            return grpc.unary_stream_rpc_method_handler(serve, parse, handler.response_serializer)
        serve = functools.partial(_serve, cast("Method", handler.unary_unary))
        return grpc.unary_unary_rpc_method_handler(serve, parse, handler.response_serializer)


async def _serve(serve: Method, request: Message | InvalidRequest, context: Context) -> Any:
    if isinstance(request, InvalidRequest):
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, request.safe_message)
    return await serve(request, context)
