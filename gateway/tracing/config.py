"""What a gateway is told of traces, by options or by OpenTelemetry's own variables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")


class TracingConfig(BaseModel):
    """What is absent is as `OTEL_*` variables say, or OpenTelemetry's default."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    trace_endpoint: str | None = Field(
        default=None,
        description="send traces to this OTLP/gRPC receiver, such as http://localhost:4317; off "
        "unless given here or by OTEL_EXPORTER_OTLP_ENDPOINT",
    )
    trace_sample: Annotated[float, Field(ge=0, le=1)] | None = Field(
        default=None,
        description="share of the requests that are traced, from 0 to 1; where a caller has "
        "decided, that holds; by default OTEL_TRACES_SAMPLER's, or all",
    )

    @field_validator("trace_endpoint")
    @classmethod
    def _is_a_receiver(cls, url: str | None) -> str | None:
        if url is not None and not _is_receiver(url):
            raise ValueError("expected http://HOST:PORT, or https://HOST:PORT for TLS")
        return url


def is_asked_for(environ: Mapping[str, str]) -> bool:
    """Whether the variables ask for traces, as OpenTelemetry's specification reads them."""
    exporter = environ.get("OTEL_TRACES_EXPORTER", "").strip()
    if exporter:
        return exporter != "none"
    return any(environ.get(name) for name in _ENDPOINTS)


def is_switched_off(environ: Mapping[str, str]) -> bool:
    """Whether the variable that is above all others says so."""
    return environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"


def unsupported(environ: Mapping[str, str]) -> str | None:
    """What the variables ask for and a gateway does not speak, in one line; None if nothing."""
    exporter = environ.get("OTEL_TRACES_EXPORTER", "").strip() or "otlp"
    if exporter != "otlp":
        return f"OTEL_TRACES_EXPORTER: expected otlp, got {exporter!r}"
    for name in _PROTOCOLS:
        if protocol := environ.get(name, "").strip():
            return None if protocol == "grpc" else f"{name}: expected grpc, got {protocol!r}"
    return None


def _is_receiver(url: str) -> bool:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    nothing_more = not (parts.query or parts.fragment or "@" in parts.netloc)
    is_root = parts.path in ("", "/")
    return (
        parts.scheme in ("http", "https")
        and bool(port and parts.hostname)
        and (nothing_more and is_root)
    )
