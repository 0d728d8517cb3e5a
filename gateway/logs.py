"""Logs as one JSON object a line. Knows nothing of gRPC; payloads never come here.

What is logged from which level on: `debug` every batch too; `info` every request, and what the
server does; `warning` requests that load or time kept from their answer, and what an operator may
want to mend; `error` what failed inside.
"""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Final, Literal, TextIO, get_args

from gateway.calls import Call, Trace
from gateway.request import Answer
from supernet.masking import masked

Level = Literal["debug", "info", "warning", "error"]
LEVELS: Final[tuple[Level, ...]] = get_args(Level)

_LONGEST_VALUE = 200
_LONGEST_TRACEBACK = 8000
_BY_LOAD = frozenset({"RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED", "UNAVAILABLE"})
_OUR_FAULT = frozenset({"INTERNAL", "UNKNOWN", "DATA_LOSS"})
_gateway = logging.getLogger("gateway")
_requests = logging.getLogger("gateway.requests")


class JsonFormatter(logging.Formatter):
    """`time`, `level`, `event`, then the record's own fields; long texts are cut."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": _bounded(record.getMessage()),
        }
        fields: dict[str, object] = getattr(record, "fields", {})
        line.update((name, _bounded(value)) for name, value in fields.items())
        if record.exc_info:
            traceback = masked(self.formatException(record.exc_info))
            line["traceback"] = traceback[-_LONGEST_TRACEBACK:]
        return json.dumps(line)


def configure(stream: TextIO, level: Level = "info") -> None:
    """Send this process's logs to `stream`: the gateway's from `level` on, others' from WARNING."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    logging.captureWarnings(True)
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    set_level(level)


def current_level() -> Level:
    """From which level on the gateway's lines are written."""
    name = logging.getLevelName(_gateway.getEffectiveLevel()).lower()
    return next(level for level in LEVELS if level == name)


def set_level(level: Level) -> None:
    """Write the gateway's lines from `level` on."""
    _gateway.setLevel(level.upper())


def say_more() -> None:
    """One level more than now, unless it is all already; a line says which."""
    _step(-1)


def say_less() -> None:
    """One level less than now, errors always; a line says which."""
    _step(+1)


def change_level(level: Level) -> None:
    """`set_level`, and a line that says so: whoever has asked sees that it worked."""
    set_level(level)
    _gateway.log(_gateway.level, "log level", extra={"fields": {"now": level}})


def _step(places: int) -> None:
    place = LEVELS.index(current_level()) + places
    change_level(LEVELS[min(max(place, 0), len(LEVELS) - 1)])


def log_event(event: str, **fields: object) -> None:
    """One line about the server itself."""
    _gateway.info(event, extra={"fields": fields})


def warn(event: str, **fields: object) -> None:
    """One line about what whoever runs the server may want to mend."""
    _gateway.warning(event, extra={"fields": fields})


def log_call(call: Call) -> None:
    """One line about one request, at the level that its end deserves."""
    level = _level_of(call)
    if not _requests.isEnabledFor(level):
        return
    fields: dict[str, object] = {"request_id": call.request_id}
    if call.message_id:
        fields["message_id"] = call.message_id
    fields |= {
        "method": call.method,
        "device_class": call.device_class,
        "subnet": call.selection.subnet if call.selection else None,
        "code": call.code,
        "ms": round(call.seconds * 1000, 3),
        "peer": call.peer,
    }
    if call.identity:
        fields["identity"] = call.identity
    if call.trace is not None:
        fields |= _of_trace(call.trace)
    if call.answer is not None:
        fields |= _of_answer(call.answer)
    if call.export_format:
        fields |= {"format": call.export_format, "bytes": call.sent_bytes}
    if call.error:
        fields["error"] = call.error
    _requests.log(level, "request", extra={"fields": fields})


def _level_of(call: Call) -> int:
    if call.code in _OUR_FAULT:
        return logging.ERROR
    # Strangers that flood a gateway are nothing that whoever runs it should mend.
    by_load = call.code in _BY_LOAD and not call.refused
    return logging.WARNING if by_load else logging.INFO


def _of_trace(trace: Trace) -> dict[str, object]:
    """What there is of its ids."""
    ids = {"trace_id": trace.trace_id, "span_id": trace.span_id}
    return {name: value for name, value in ids.items() if value}


def _of_answer(answer: Answer) -> dict[str, object]:
    selection = answer.selection
    return {
        "queue_ms": round(answer.queue_ms, 3),
        "compute_ms": round(answer.compute_ms, 3),
        "predicted_ms": round(selection.latency_ms, 3),
        "batch": answer.batch,
        "expected_accuracy": selection.accuracy,
        "degraded": selection.degraded,
    }


def _bounded(value: object) -> object:
    if not isinstance(value, str):
        return value
    text = masked(value)  # before it is cut: half a password is none to the eye that looks for it
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 1] + "…"
