"""What can go wrong with a request: each error carries its wire status and its safe message.

The codes are the names of gRPC statuses, but nothing here knows gRPC: the services map them in
one place. A safe message may be shown to a caller; values in it are shortened.
"""

# ruff: noqa: N818 - these are named for the answer they are, as gRPC names its statuses

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Self

MAX_SHOWN = 80  # characters of a caller's value that a message repeats
MAX_LISTED = 50  # names that a message lists


def shown(value: object) -> str:
    """`value` as a message repeats it: its repr in one line, never more than `MAX_SHOWN`."""
    if isinstance(value, str | bytes) and len(value) > MAX_SHOWN:
        return f"{value[: MAX_SHOWN - 20]!r}... ({len(value)} long)"
    text = " ".join(repr(value).split())
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 3] + "..."


class GatewayError(Exception):
    """An answer other than logits. `code` names the gRPC status, `safe_message` is for callers."""

    code: ClassVar[str] = "INTERNAL"
    safe_message: str = "internal error"

    def __init__(self, safe_message: str | None = None) -> None:
        self.safe_message = safe_message or type(self).safe_message
        super().__init__(self.safe_message)


class InvalidRequest(GatewayError):
    """A field of the request is wrong: says which, its value and what was expected."""

    code = "INVALID_ARGUMENT"
    safe_message = "invalid request"

    def __init__(self, field: str, value: object, expected: str) -> None:
        self.field, self.expected, self.given = field, expected, shown(value)
        super().__init__(f"{field}: expected {expected}, got {self.given}")

    @classmethod
    def told(cls, field: str, given: str, expected: str) -> Self:
        """The same again, of a value that is known by what was shown of it."""
        error = cls(field, None, expected)
        error.given = given
        error.safe_message = f"{field}: expected {expected}, got {given}"
        error.args = (error.safe_message,)
        return error


class UnknownDeviceClass(GatewayError):
    """No latency table for this device class: lists the classes there are."""

    code = "NOT_FOUND"
    safe_message = "unknown device class"

    def __init__(self, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        listed = ", ".join(names[:MAX_LISTED]) + (", ..." if len(names) > MAX_LISTED else "")
        there_are = f"there are {listed}" if names else "there are none yet"
        super().__init__(f"device_class: {shown(name)} is not known; {there_are}")


class UnknownModel(GatewayError):
    """A protocol that names models names one that is not served here: says which is."""

    code = "NOT_FOUND"
    safe_message = "unknown model"

    def __init__(self, name: str, version: str, served: str) -> None:
        given = shown(name) + (f", version {shown(version)}" if version else "")
        super().__init__(f"model: {given} is not served; there is {served!r}, version '1'")


class NoSubnet(GatewayError):
    """No subnet meets the budget or the accuracy: the message names the nearest there is."""

    code = "FAILED_PRECONDITION"
    safe_message = "no subnet meets the constraints"


class DeadlineExceeded(GatewayError):
    """The answer can no longer be there in time."""

    code = "DEADLINE_EXCEEDED"
    safe_message = "the deadline cannot be met"


class QueueFull(GatewayError):
    """Too many requests wait already. `retry_after_s` is when a place may be free."""

    code = "RESOURCE_EXHAUSTED"
    safe_message = "too many requests are waiting"

    def __init__(self, retry_after_s: float) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(f"{type(self).safe_message}; try again in {retry_after_s:.2f} s")


class TooManyReporters(QueueFull):
    """Too many streams of reports are open already."""

    safe_message = "too many streams of reports are open"


class TooManyFetches(QueueFull):
    """Too many exports are being handed out already."""

    safe_message = "too many exports are being fetched"


class Unauthenticated(GatewayError):
    """The caller does not say who it is, or is not known: says what was expected, never what was
    given."""

    code = "UNAUTHENTICATED"
    safe_message = "expected a token or a client certificate"


class NotAllowed(GatewayError):
    """The caller is known and may not do this: says what it may."""

    code = "PERMISSION_DENIED"
    safe_message = "the caller may not do this"

    def __init__(self, who: str, right: str, rights: Iterable[str]) -> None:
        may = ", ".join(sorted(rights)) or "nothing"
        super().__init__(f"{shown(who)} may not {right}; it may {may}")


class TooFast(QueueFull):
    """This caller has used up its rate; the gateway itself may be idle."""

    safe_message = "the caller has used up its rate"


class TooManyStrangers(TooFast):
    """Nobody who is known has made too many calls from this address."""

    safe_message = "too many calls from this address show no token or certificate that is known"


class NotFetching(GatewayError):
    """This gateway hands no exports out."""

    code = "UNIMPLEMENTED"
    safe_message = "this gateway hands no exports out; its option --no-fetch is on"


class CannotExport(GatewayError):
    """The subnet cannot be had in this format from this gateway: the message says why."""

    code = "FAILED_PRECONDITION"
    safe_message = "the subnet cannot be exported"

    @classmethod
    def for_want_of_room(cls) -> CannotExport:
        """Of the gateway's disk."""
        return cls("the gateway's disk has no room for the export")


class NotReading(GatewayError):
    """The caller takes no more of a stream; where its connection was at fault it may go on."""

    code = "UNAVAILABLE"
    safe_message = "the caller has stopped reading"


class NotLearning(GatewayError):
    """This gateway takes no reports; another one will not either, so a client need not ask."""

    code = "UNIMPLEMENTED"
    safe_message = "this gateway does not learn from reports; its option --learn-latency is off"


class Draining(GatewayError):
    """The gateway is about to end and takes no new requests."""

    code = "UNAVAILABLE"
    safe_message = "the gateway is draining; try another one"
