"""Streams of an export: from a selection to a header and chunks, as fast as the caller reads.

Where exports come from, and that each is built once, is the library's business.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from gateway.calls import Call
from gateway.errors import InvalidRequest, TooManyFetches
from gateway.exports.entry import Export
from gateway.exports.key import DEFAULT_FORMAT, SUFFIXES, ExportKey
from gateway.exports.library import ExportLibrary
from gateway.exports.metrics import ExportMetrics
from gateway.request import Selection
from protos.compofa.v1 import gateway_pb2
from supernet.version import version as compofa_version

CHUNK = 128 * 1024  # bytes
_RETRY_AFTER_S = 2.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """The format asked for, and how many bytes of which version are there already."""

    format: str
    version: str
    offset: int


def wanted_from(message: gateway_pb2.FetchSubnetRequest) -> Wanted:
    """What a request asks for, besides its constraints. Raises `InvalidRequest`."""
    format_name = message.format or DEFAULT_FORMAT
    if format_name not in SUFFIXES:
        raise InvalidRequest("format", format_name, f"one of {', '.join(SUFFIXES)}")
    if message.offset < 0:
        raise InvalidRequest("offset", message.offset, "a number of bytes, 0 or more")
    return Wanted(format_name, message.version, message.offset)


class FetchStreams:
    """The streams of all callers, so many at once. Belongs to one event loop."""

    def __init__(
        self, library: ExportLibrary, artifact_hash: str, max_streams: int, metrics: ExportMetrics
    ) -> None:
        self._library, self._artifact_hash = library, artifact_hash
        self._max_streams, self._metrics = max_streams, metrics
        self._compofa_version = compofa_version()
        self._open = 0

    @property
    def open(self) -> int:
        """How many wait or are being sent."""
        return self._open

    async def parts(
        self, selection: Selection, wanted: Wanted, call: Call
    ) -> AsyncGenerator[gateway_pb2.FetchSubnetResponse, None]:
        """The responses, whose bytes are counted in `call`. Raises `GatewayError`."""
        key = ExportKey(self._artifact_hash, selection.subnet, wanted.format, self._compofa_version)
        with self._place():
            if wanted.offset == 0 and key.is_of(wanted.version):
                yield _header(selection, wanted, unchanged=True, version=wanted.version)
                return
            export = await self._library.open(key)
            try:
                version = key.version(export.record.sha256)
                offset = _start(wanted, version, export)
                yield _full_header(selection, wanted, version, offset, export)
                while offset < export.record.size:
                    chunk = await self._chunk(export, offset)
                    yield gateway_pb2.FetchSubnetResponse(chunk=chunk)
                    offset += len(chunk)
                    call.sent_bytes += len(chunk)
                    self._metrics.sent(wanted.format, len(chunk))
            finally:
                self._library.close_export(export)

    async def _chunk(self, export: Export, offset: int) -> bytes:
        chunk = await self._library.read(export, offset, CHUNK)
        if not chunk:
            raise OSError("an export was cut short while it was read")
        return chunk

    @contextmanager
    def _place(self) -> Iterator[None]:
        if self._open >= self._max_streams:
            raise TooManyFetches(_RETRY_AFTER_S)
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1


def _start(wanted: Wanted, version: str, export: Export) -> int:
    """Where the chunks begin. Raises `InvalidRequest` for an offset beyond the end."""
    if wanted.version != version:
        return 0
    if wanted.offset > export.record.size:
        expected = f"at most {export.record.size}, the bytes of this version"
        raise InvalidRequest("offset", wanted.offset, expected)
    return wanted.offset


def _full_header(
    selection: Selection, wanted: Wanted, version: str, offset: int, export: Export
) -> gateway_pb2.FetchSubnetResponse:
    response = _header(selection, wanted, version=version, unchanged=False)
    record, header = export.record, response.header
    header.offset, header.size, header.sha256 = offset, record.size, record.sha256
    for file in record.files:
        header.files.add(name=file.name, size=file.size)
    return response


def _header(
    selection: Selection, wanted: Wanted, *, version: str, unchanged: bool
) -> gateway_pb2.FetchSubnetResponse:
    return gateway_pb2.FetchSubnetResponse(
        header=gateway_pb2.ExportHeader(
            subnet=selection.subnet,
            expected_accuracy=selection.accuracy,
            predicted_latency_ms=selection.latency_ms,
            format=wanted.format,
            version=version,
            unchanged=unchanged,
        )
    )
