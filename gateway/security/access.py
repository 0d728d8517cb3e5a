"""Who calls, whether they may, and how fast: an interceptor within `CallInterceptor`, which turns
the errors that rise here into statuses.

A call without a token that is known is turned away before its message is read, so that a stranger
takes no memory. Who has a certificate is known only once the method runs; TLS has checked it then.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Iterable, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, NoReturn

import grpc

from gateway.calls import identified
from gateway.errors import GatewayError, NotAllowed, TooFast, TooManyStrangers, Unauthenticated
from gateway.learning.reports import address_of
from gateway.security.identities import Identities, Identity, Right
from gateway.security.rates import Rates

_EXPECTED_TOKEN = "authorization: expected 'Bearer ' and a token"
_NAMES = ("x509_subject_alternative_name", "x509_common_name")

if TYPE_CHECKING:  # generic in the stubs only
    Handler = grpc.RpcMethodHandler[Any, Any]
    Context = grpc.aio.ServicerContext[Any, Any]
    Admit = Callable[[Context], Callable[[], float]]
    TurnAway = Callable[[Context], GatewayError]


class Access(grpc.aio.ServerInterceptor):
    """Lets in who is known by `identities`, which is asked anew for each call: by a token or, where
    `certificates` says that TLS asks for them, by a certificate. `identities` is None where nobody
    has to be known.

    `open_methods` (full names) are for everybody. `rights` says what a method takes, None being
    no more than to be known; one that is not in it takes `infer`. `rates` bounds each caller: by
    name, or by address where nobody has to be known. `strangers` bounds by address the calls of
    those who have to be known and are not. Those who are have no part in it: a proxy may stand
    in front of both.
    """

    def __init__(
        self,
        identities: Callable[[], Identities] | None,
        *,
        certificates: bool,
        rates: Rates | None,
        strangers: Rates | None,
        open_methods: Collection[str],
        rights: Mapping[str, Right | None],
    ) -> None:
        self._identities, self._certificates = identities, certificates
        self._rates, self._strangers = rates, strangers
        self._open_methods, self._rights = frozenset(open_methods), rights

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Any],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        handler: Handler | None = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or method in self._open_methods:
            return handler
        try:
            identity = self._by_token(handler_call_details.invocation_metadata)
        except Unauthenticated as error:
            return _refusing(handler, functools.partial(self._turned_away, error))
        return _admitting(handler, functools.partial(self._admit, method, identity))

    def _by_token(self, metadata: Iterable[tuple[str, str | bytes]]) -> Identity | None:
        """Who the token says it is; None where that is not known by a token."""
        if self._identities is None:
            return None
        given = [value for name, value in metadata if name == "authorization"]
        if not given and self._certificates:
            return None
        if not given:
            raise Unauthenticated(_EXPECTED_TOKEN)
        scheme, _, token = str(given[0]).partition(" ")
        if len(given) > 1 or scheme.lower() != "bearer":
            raise Unauthenticated(_EXPECTED_TOKEN)
        return self._identities().by_token(token.strip())

    def _admit(
        self, method: str, identity: Identity | None, context: Context
    ) -> Callable[[], float]:
        """Let a call in, and say what takes one more of its caller's rate. Raises
        `GatewayError`."""
        if self._identities is not None:
            identity = identity or self._by_certificate(context)
            identified(identity.name)
        take = self._rate_of(identity, context)
        wait_s = take()
        if wait_s > 0:
            raise TooFast(wait_s)
        if identity is not None:
            self._check_right(method, identity)
        return take

    def _by_certificate(self, context: Context) -> Identity:
        assert self._identities is not None
        try:
            return self._identities().by_certificate(names_of(context))
        except Unauthenticated as error:
            raise self._turned_away(error, context) from None

    def _turned_away(self, error: Unauthenticated, context: Context) -> GatewayError:
        """What a stranger's call ends in: `error`, or that too many such came from there.

        The token has been looked up by then, which costs the hash of a header. Not to look would
        shut out whoever is known and comes from where strangers flood.
        """
        if self._strangers is None:
            return error
        wait_s = self._strangers.take(address_of(context.peer()))
        return TooManyStrangers(wait_s) if wait_s > 0 else error

    def _rate_of(self, identity: Identity | None, context: Context) -> Callable[[], float]:
        """What takes one of the caller's."""
        if self._rates is None:
            return lambda: 0.0
        caller = f"name {identity.name}" if identity else f"address {address_of(context.peer())}"
        return functools.partial(self._rates.take, caller)

    def _check_right(self, method: str, identity: Identity) -> None:
        """Raises `NotAllowed`."""
        right = self._rights.get(method, "infer")
        if right is not None and right not in identity.rights:
            raise NotAllowed(identity.name, right, identity.rights)


def names_of(context: Context) -> list[str]:
    """The names in the client's certificate, alternative ones first."""
    found: Mapping[str, Iterable[bytes]] = context.auth_context()
    names = [name.decode("utf-8", "replace") for key in _NAMES for name in found.get(key, ())]
    return [name for name in names if name]


def _refusing(handler: Handler, turn_away: TurnAway) -> Handler:
    """As a stream whose messages nobody asks for, whatever the method takes: what is on the wire
    is not read."""

    async def refuse(requests: object, context: Context) -> NoReturn:  # noqa: ARG001
        raise turn_away(context)

    return grpc.stream_unary_rpc_method_handler(
        refuse, handler.request_deserializer, handler.response_serializer
    )


def _admitting(handler: Handler, admit: Admit) -> Handler:
    """The same method, for whom `admit` lets in."""
    parse, write = handler.request_deserializer, handler.response_serializer
    if handler.unary_unary is not None:
        answer = functools.partial(_answer, handler.unary_unary, admit)
        return grpc.unary_unary_rpc_method_handler(answer, parse, write)
    if handler.stream_unary is not None:
        answer = functools.partial(_answer, handler.stream_unary, admit)
        return grpc.stream_unary_rpc_method_handler(answer, parse, write)
    if handler.unary_stream is not None:
        parts = functools.partial(_parts, handler.unary_stream, admit)
        return grpc.unary_stream_rpc_method_handler(parts, parse, write)
    parts = functools.partial(_answers, handler.stream_stream, admit)
    return grpc.stream_stream_rpc_method_handler(parts, parse, write)


async def _answer(serve: Any, admit: Admit, request: Any, context: Context) -> Any:
    admit(context)
    return await serve(request, context)


async def _parts(
    serve: Any, admit: Admit, request: Any, context: Context
) -> AsyncGenerator[Any, None]:
    admit(context)
    async with aclosing(serve(request, context)) as parts:
        async for part in parts:
            yield part


async def _answers(
    serve: Any, admit: Admit, requests: AsyncIterator[Any], context: Context
) -> AsyncGenerator[Any, None]:
    """Each message counts as a call. A stream that is too fast is read no faster than it may be:
    its client is held back by flow control, and not turned away."""
    take = admit(context)
    async with aclosing(serve(_paced(requests, take), context)) as answers:
        async for answer in answers:
            yield answer


async def _paced(requests: AsyncIterator[Any], take: Callable[[], float]) -> AsyncIterator[Any]:
    async for request in requests:
        while (wait_s := take()) > 0:
            await asyncio.sleep(wait_s)
        yield request
