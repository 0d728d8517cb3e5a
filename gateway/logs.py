"""Logs as one JSON object a line. Knows nothing of gRPC; payloads never come here."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import TextIO

from gateway.calls import Call
from supernet.masking import masked

_LONGEST_VALUE = 200
_LONGEST_TRACEBACK = 8000
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


def configure(stream: TextIO) -> None:
    """Send this process's logs to `stream`: the gateway's from INFO on, others' from WARNING."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    logging.captureWarnings(True)
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("gateway").setLevel(logging.INFO)


def log_event(event: str, **fields: object) -> None:
    """One line about the server itself."""
    logging.getLogger("gateway").info(event, extra={"fields": fields})


def warn(event: str, **fields: object) -> None:
    """One line about what whoever runs the server may want to mend."""
    logging.getLogger("gateway").warning(event, extra={"fields": fields})


def log_call(call: Call) -> None:
    """One line about one request."""
    fields: dict[str, object] = {
        "method": call.method,
        "device_class": call.device_class,
        "subnet": call.selection.subnet if call.selection else None,
        "code": call.code,
        "ms": round(call.seconds * 1000, 3),
        "peer": call.peer,
    }
    if call.identity:
        fields["identity"] = call.identity
    if call.export_format:
        fields |= {"format": call.export_format, "bytes": call.sent_bytes}
    if call.error:
        fields["error"] = call.error
    _requests.info("request", extra={"fields": fields})


def _bounded(value: object) -> object:
    if not isinstance(value, str):
        return value
    text = masked(value)  # before it is cut: half a password is none to the eye that looks for it
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 1] + "…"
