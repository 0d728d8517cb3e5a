"""Streams of reported latencies: from messages to a report book, and what became of them.

A stream is bounded in length and in silence, and ends with an answer whatever ends it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

from gateway.config import LearningConfig
from gateway.errors import TooManyReporters
from gateway.learning.report_book import ReportBook
from gateway.learning.report_metrics import ReportMetrics
from gateway.learning.reports import RefusedReportError, Report, client_key
from protos.compofa.v1 import gateway_pb2

_RETRY_AFTER_S = 5.0


class ReportStreams:
    """Takes the streams of all clients. Belongs to one event loop."""

    def __init__(
        self, book: ReportBook, artifact_hash: str, config: LearningConfig, metrics: ReportMetrics
    ) -> None:
        self._book, self._artifact_hash = book, artifact_hash
        self._config, self._metrics = config, metrics
        self._silences: set[asyncio.Timeout] = set()
        self._ended = False

    def end(self) -> None:
        """Answer the streams that are open with what was taken so far."""
        self._ended = True
        now = asyncio.get_running_loop().time()
        for silence in self._silences:
            with suppress(RuntimeError):  # it has just ended by itself
                silence.reschedule(now)

    async def take(
        self, requests: AsyncIterator[gateway_pb2.ReportLatencyRequest], peer: str
    ) -> gateway_pb2.ReportLatencyResponse:
        """Count what comes until the client ends, falls silent or has sent enough."""
        if len(self._silences) >= self._config.max_streams:
            raise TooManyReporters(_RETRY_AFTER_S)
        tally, clock = _Tally(), asyncio.get_running_loop().time
        with suppress(TimeoutError):
            async with asyncio.timeout(self._config.idle_s) as silence:
                self._silences.add(silence)
                try:
                    async for request in requests:
                        self._count(request, peer, tally)
                        if self._ended or tally.count >= self._config.max_stream_reports:
                            break
                        silence.reschedule(clock() + self._config.idle_s)
                finally:
                    self._silences.discard(silence)
        return tally.response()

    def _count(self, request: gateway_pb2.ReportLatencyRequest, peer: str, tally: _Tally) -> None:
        try:
            trust = self._config.trust_client_names
            client = client_key(peer, request.client, trust_names=trust, salt=self._artifact_hash)
            report = Report(
                request.device_class, request.subnet, request.latency_ms, client,
                request.artifact_hash,
            )  # fmt: skip
            name, ratio = self._book.take(report)
        except RefusedReportError as error:
            self._metrics.refused(self._book.resolve(request.device_class), error.reason)
            tally.refuse(error)
        else:
            self._metrics.taken(name, ratio)
            tally.taken += 1


class _Tally:
    """What became of the reports of one stream. `refused` is bounded by the reasons there are."""

    def __init__(self) -> None:
        self.taken = 0
        self._refused: dict[str, gateway_pb2.RefusedReports] = {}

    @property
    def count(self) -> int:
        return self.taken + sum(r.reports for r in self._refused.values())

    def refuse(self, error: RefusedReportError) -> None:
        new = gateway_pb2.RefusedReports(reason=error.reason, message=str(error))
        self._refused.setdefault(error.reason, new).reports += 1

    def response(self) -> gateway_pb2.ReportLatencyResponse:
        return gateway_pb2.ReportLatencyResponse(
            taken=self.taken,
            refused=self.count - self.taken,
            reasons=self._refused.values(),
        )
