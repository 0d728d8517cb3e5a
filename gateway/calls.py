"""What is learnt about one request while it is served, for logs and metrics to read at its end.

The interceptor opens a `Call`, the servicer fills it in. A context variable carries it, so
that neither has to know the other.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass

from gateway.request import Answer, Selection


@dataclass(slots=True)
class Call:
    """One request. `code` is a gRPC status name; `error` what the client was told."""

    method: str
    peer: str
    device_class: str = ""
    selection: Selection | None = None
    answer: Answer | None = None
    code: str = "OK"
    error: str = ""
    seconds: float = 0.0

    def answered(self, answer: Answer) -> None:
        self.answer, self.selection = answer, answer.selection


CallObserver = Callable[[Call], None]

_current: ContextVar[Call] = ContextVar("call")


def open_call(method: str, peer: str) -> Call:
    """A new call, which `current_call` gives from here on in this task."""
    call = Call(method, peer)
    _current.set(call)
    return call


def current_call() -> Call:
    """The call this task serves. Raises `LookupError` outside of one: a bug of ours."""
    return _current.get()
