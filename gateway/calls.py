"""What is learnt about one request while it is served, for logs and metrics to read at its end.

The interceptor opens a `Call`, the servicer fills it in. A context variable carries it, so
that neither has to know the other. In a stream each message is a call of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.errors import (
    GatewayError,
    NotAllowed,
    QueueFull,
    TooFast,
    TooManyStrangers,
    Unauthenticated,
)
from gateway.request import Answer, Constraints, Selection

if TYPE_CHECKING:  # what traces brings it along; what does not is served without
    from opentelemetry.trace import Span

_REFUSALS = (Unauthenticated, NotAllowed, TooManyStrangers)
_LONGEST_MESSAGE = 1000  # characters; a status travels in a header, and headers are bounded


@dataclass(frozen=True, slots=True)
class Trace:
    """The trace that a call belongs to, in hexadecimal as W3C writes it. `trace_id` is empty where
    nobody follows it, `span_id` where no span of the call is sent. `is_continued` says that the
    trace is its caller's."""

    span: Span
    trace_id: str = ""
    span_id: str = ""
    is_continued: bool = False

    def unsent(self) -> Trace:
        """The same, for a call whose span is not sent after all."""
        return Trace(self.span, self.trace_id if self.is_continued else "", "", self.is_continued)


@dataclass(slots=True)
class Call:
    """One request. `request_id` names it in logs, `message_id` one message of a stream as its
    caller does. `code` is a gRPC status name; `error` what the client was told, and
    `retry_after_s` when to come back, where that may help. Where an export is fetched,
    `export_format` is its format and `sent_bytes` how much of it went out. `identity` is who
    calls, where that has to be known; `refused` whether it was turned away because that is nobody
    who may call, and `too_fast` whether for its rate.
    `constraints` are what was asked for, once that is known. `trace` is None where nothing
    traces."""

    method: str
    peer: str
    device_class: str = ""
    selection: Selection | None = None
    answer: Answer | None = None
    export_format: str = ""
    sent_bytes: int = 0
    code: str = "OK"
    error: str = ""
    retry_after_s: float | None = None
    seconds: float = 0.0
    request_id: str = ""
    message_id: str = ""
    identity: str = ""
    refused: bool = False
    too_fast: bool = False
    constraints: Constraints | None = None
    trace: Trace | None = None

    def answered(self, answer: Answer) -> None:
        self.answer, self.selection = answer, answer.selection

    def failed(self, error: Exception) -> None:
        """Take an error's status and message over; what is not ours to show stays inside."""
        shown = error if isinstance(error, GatewayError) else GatewayError()
        self.code, self.error = shown.code, shown.safe_message[:_LONGEST_MESSAGE]
        self.retry_after_s = shown.retry_after_s if isinstance(shown, QueueFull) else None
        self.refused = isinstance(shown, _REFUSALS)
        self.too_fast = isinstance(shown, TooFast)


CallObserver = Callable[[Call], None]
BeginTrace = Callable[[Call], None]
NewCall = Callable[[], AbstractContextManager[Call, bool]]

_current: ContextVar[Call] = ContextVar("call")
_caller: ContextVar[str] = ContextVar("caller", default="")
_of_stream: ContextVar[NewCall] = ContextVar("call of a stream")
_begin_trace: ContextVar[BeginTrace | None] = ContextVar("what traces", default=None)


def open_call(method: str, peer: str, request_id: str = "") -> Call:
    """A new call, which `current_call` gives from here on in this task."""
    call = Call(method, peer, request_id=request_id, identity=_caller.get())
    begin_trace(call)
    _current.set(call)
    return call


def traced_by(begin: BeginTrace) -> None:
    """Say what begins the traces of this task's calls."""
    _begin_trace.set(begin)


def begin_trace(call: Call) -> None:
    """Give a call its trace, where something traces. One that has ended already began so many
    seconds ago."""
    begin = _begin_trace.get()
    if begin is not None:
        begin(call)


def identified(name: str) -> None:
    """Say who makes the calls of this task, the one that it serves already among them."""
    _caller.set(name)
    call = ongoing_call()
    if call is not None:
        call.identity = name


def current_call() -> Call:
    """The call this task serves. Raises `LookupError` outside of one: a bug of ours."""
    return _current.get()


def ongoing_call() -> Call | None:
    """The call this task serves; None where nothing is served, as on a command line."""
    return _current.get(None)


def open_stream(new_call: NewCall) -> None:
    """Say what opens the calls of the stream that this task serves."""
    _of_stream.set(new_call)


def streamed_call() -> AbstractContextManager[Call, bool]:
    """A call for one message of a stream, observed at its end. An error that rises within is kept
    in the call and goes no further."""
    return _of_stream.get()()
