"""Sends what `malformed.py` makes up to a gateway, and tells which statuses are wrong."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import DecodeError, Message

from gateway.interceptors import LARGEST_STREAMED
from tests.services.conftest import GatewayProcess
from tests.services.malformed import path_of

WRONG = frozenset({"INTERNAL", "UNKNOWN", "DATA_LOSS", "UNAVAILABLE", "UNIMPLEMENTED", "ABORTED"})
"""What no bad message may end in: the gateway's own fault, or its end."""
ENDLESS = frozenset({"/grpc.health.v1.Health/Watch"})
DEADLINE_S = 30.0

End = Callable[[], tuple[set[str], int]]
"""Waits for a call: its statuses, its own and its answers', and how many messages were read."""


@dataclass(slots=True)
class Fuzzed:
    """What became of the messages sent so far. `read` of them are known to have been taken from
    their calls. `wrong` has, for each wrong status, the method and the messages of the call."""

    messages: int = 0
    read: int = 0
    codes: Counter[str] = field(default_factory=Counter)
    wrong: list[tuple[str, str, Sequence[bytes]]] = field(default_factory=list)


class Fuzzer:
    """Sends messages to every method of one gateway."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._channel = channel
        self.fuzzed = Fuzzed()

    def send(self, method: MethodDescriptor, messages: Sequence[bytes]) -> set[str]:
        """A call each, all at once, or as few as will do where the method takes a stream. The wrong
        statuses that came of it."""
        path, calls = path_of(method), list(_calls(method, messages))
        begun = [self._begin(method, call) for call in calls]
        wrong = set()
        for call, end in zip(calls, begun, strict=True):
            codes, read = end()
            self.fuzzed.codes.update(codes)
            self.fuzzed.read += read
            for code in codes & WRONG:
                wrong.add(code)
                self.fuzzed.wrong.append((code, path, call))
        self.fuzzed.messages += len(messages)
        return wrong

    def _begin(self, method: MethodDescriptor, messages: Sequence[bytes]) -> End:
        """Start a call; what is returned waits for its end."""
        path = path_of(method)
        streams = ("stream" if method.client_streaming else "unary",
                   "stream" if method.server_streaming else "unary")  # fmt: skip
        call = getattr(self._channel, "_".join(streams))(path)
        given: Any = iter(messages) if method.client_streaming else messages[0]
        if method.server_streaming:
            stream = call(given, timeout=DEADLINE_S)
            return lambda: _streamed(method, stream)
        future = call.future(given, timeout=DEADLINE_S)
        return lambda: _once(method, future, len(messages))


def _calls(method: MethodDescriptor, messages: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """The messages of each call. What is no message ends a stream, and what comes after it is not
    read: so it is the last."""
    call: list[bytes] = []
    for each in messages:
        call.append(each)
        if not method.client_streaming or _ends_a_stream(method, each):
            yield call
            call = []
    if call:
        yield call


def _ends_a_stream(method: MethodDescriptor, message: bytes) -> bool:
    if not method.server_streaming and len(message) > LARGEST_STREAMED:
        return True
    try:
        message_factory.GetMessageClass(method.input_type).FromString(message)
    except DecodeError:
        return True
    return False


def _once(method: MethodDescriptor, future: Any, sent: int) -> tuple[set[str], int]:
    """Of a call with one answer."""
    code: str = future.code().name
    if not method.client_streaming:
        return {code}, 1
    if code != "OK":  # the last message was none; or the call was turned away
        return {code}, sent if code == "INVALID_ARGUMENT" else 0
    answer: Any = message_factory.GetMessageClass(method.output_type).FromString(future.result())
    return {code}, answer.taken + answer.refused


def _streamed(method: MethodDescriptor, stream: Any) -> tuple[set[str], int]:
    """Of a stream of answers: theirs, and its own."""
    make = message_factory.GetMessageClass(method.output_type)
    most = 1 if path_of(method) in ENDLESS else None
    codes: set[str] = set()
    read = 0 if method.client_streaming else 1
    try:
        for raw in itertools.islice(stream, most):
            codes.update(_answered(make.FromString(raw)))
            read += method.client_streaming
    except grpc.RpcError as error:
        codes.add(error.code().name)
        read += method.client_streaming and error.code() is grpc.StatusCode.INVALID_ARGUMENT
    finally:
        stream.cancel()
    return codes or {"OK"}, read


def _answered(response: Message) -> Iterator[str]:
    """The status that one answer of a stream carries."""
    carried: Any = response
    fields = response.DESCRIPTOR.fields_by_name
    if getattr(carried, "error_message", "") == "internal error":
        yield "INTERNAL"
    elif "error_response" in fields and response.HasField("error_response"):
        yield _code_name(carried.error_response.error_code)
    elif "status" in fields and fields["status"].message_type and response.HasField("status"):
        yield _code_name(carried.status.code)
    else:
        yield "OK"


def _code_name(number: int) -> str:
    return next((code.name for code in grpc.StatusCode if code.value[0] == number), "UNKNOWN")


def faults(gateway: GatewayProcess) -> list[str]:
    """The lines of a gateway's log that tell of a fault of its own."""
    lines = gateway.stderr.read_text("utf-8", errors="replace").splitlines()
    return [ln for ln in lines if '"level": "error"' in ln or "raceback" in ln or ln[:1] != "{"]
