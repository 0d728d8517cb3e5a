"""Tracing as a configuration wants it. OpenTelemetry is imported here, and only where it is on."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from gateway import logs
from gateway.tracing.config import TracingConfig, unsupported
from supernet.commandline import UsageError
from supernet.manifest import Manifest

if TYPE_CHECKING:
    from gateway.tracing.sending import Tracing

EXTRA_MISSING = "tracing needs opentelemetry: pip install 'compofa[tracing]'"


def open_tracing(
    config: TracingConfig | None, manifest: Manifest
) -> AbstractContextManager[Tracing | None]:
    """What traces while the context is open; None where nothing is to be traced.

    Where an option asks for it, raises `UsageError` if it cannot be had. Variables are often set
    for many programs at once: there a warning has to do.
    """
    if config is None:
        return nullcontext()
    try:
        if config.trace_endpoint is None and (problem := unsupported(os.environ)):
            raise UsageError(problem)
        try:
            from gateway.tracing.sending import tracing
        except ImportError:
            raise UsageError(EXTRA_MISSING) from None
    except UsageError as error:
        if config.trace_endpoint is not None:
            raise
        logs.warn(f"nothing is traced: {error}")
        return nullcontext()
    return tracing(config, manifest)
