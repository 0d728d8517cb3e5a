"""From a message's bytes to the message, or to what is wrong with them. Knows no method."""

from __future__ import annotations

from collections.abc import Callable

from google.protobuf.message import DecodeError, Message

from gateway.errors import InvalidRequest

Parse = Callable[[bytes], Message]

_SHOWN = 16  # bytes


def parsed(parse: Parse, largest: int, raw: bytes) -> Message | InvalidRequest:
    """The message, or what is wrong with it: gRPC would turn an exception into INTERNAL or UNKNOWN.

    No frame that an exception's traceback could keep alive holds the raw bytes.
    """
    if len(raw) > largest:
        return InvalidRequest("request", len(raw), f"at most {largest} bytes")
    try:
        return parse(raw)
    except DecodeError:
        expected = "a protobuf message of this method's type"
        return InvalidRequest("request", raw[:_SHOWN], expected)
