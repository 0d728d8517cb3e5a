"""A fetch into a file, for both clients: what to ask for, what came, whether to ask again.

Knows responses and files, and no channel.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from gateway.client_values import CallError
from gateway.fetching.fetched import Fetched, checked_out, keep, kept, places
from gateway.fetching.partial_file import PartialFile, latest_version, remove_all
from gateway.request import Constraints
from protos.compofa.v1 import gateway_pb2

DEFAULT_FETCH_DEADLINE_S = 600.0
MAX_BROKEN = 8  # streams in a row that have brought nothing
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.25, 8.0


class Download:
    """Use it as a context manager: what has come stays, for a later one to go on from.

    Raises `ValueError` for an `out` that is no file or that another fetch is writing, `OSError`
    where it cannot be read.
    """

    def __init__(self, target: str, out: Path, format_name: str, constraints: Constraints) -> None:
        self._target, self._out, self._shown = target, checked_out(out), out
        self._format, self._constraints = format_name, constraints
        self._kept = kept(self._out)
        self._part: PartialFile | None = None
        self._header: gateway_pb2.ExportHeader | None = None
        self._began_at, self._broken, self._anew = 0, 0, False
        version = latest_version(self._out)
        if version is not None:
            with self._naming_out():
                self._part = PartialFile(self._out, version)

    def request(self) -> gateway_pb2.FetchSubnetRequest:
        """What to ask for now."""
        asked = self._constraints
        request = gateway_pb2.FetchSubnetRequest(
            device_class=asked.device_class,
            latency_budget_ms=asked.latency_budget_ms,
            min_accuracy=asked.min_accuracy,
            format=self._format,
        )
        if self._part is not None and self._part.size > 0:
            request.version, request.offset = self._part.version, self._part.size
        elif self._kept is not None:
            request.version = self._kept.version
        return request

    def take(self, response: gateway_pb2.FetchSubnetResponse) -> bool:
        """Take the next response; False where no more is needed. Raises `CallError` for what is
        no answer to the request, `OSError`."""
        with self._naming_out():
            if response.HasField("header"):
                return self._begin(response.header)
            if self._header is None or self._part is None:
                raise self._error("INTERNAL", "chunks before a header")
            self._part.append(response.chunk)
            self._broken = 0
            return True

    def finish(self) -> Fetched:
        """Once the stream has ended: check what came, and put it in place.

        Raises `CallError` where it is not what the header said, `OSError`.
        """
        header, part = self._header, self._part
        if header is None:
            raise self._error("INTERNAL", "no header")
        if self._has(header):
            remove_all(self._out)
            return self._unchanged(header)
        assert part is not None
        if (part.size, part.sha256) != (header.size, header.sha256):
            part.clear()
            raise self._error("DATA_LOSS", "what came is not what was sent: its SHA-256 differs")
        with self._naming_out():
            files = places([file.name for file in header.files], self._out)
            # The note first: it counts only where the files are as it says.
            keep(self._out, files, header.version, header.sha256)
            part.put([file.size for file in header.files], files)
            remove_all(self._out)
        return self._fetched(header, files, header.sha256, header.size)

    def pause_s(self, error: CallError) -> float:
        """How long to wait before asking again; raises `error` where it would be the same again.

        A stream that broke after it had begun is worth some more tries, and an earlier part that
        turns out to be of no use one without it.
        """
        if error.code == "UNAVAILABLE" and self._header is not None and self._broken < MAX_BROKEN:
            self._broken += 1
            return float(min(_FIRST_PAUSE_S * 2**self._broken, _LONGEST_PAUSE_S))
        useless = error.code == "INVALID_ARGUMENT" and ": offset: " in str(error)
        spoilt = error.code == "DATA_LOSS" and self._began_at > 0
        if (useless or spoilt) and self._part is not None and not self._anew:
            self._anew = True
            self._part.clear()
            return 0.0
        raise error

    def close(self) -> None:
        if self._part is not None:
            self._part.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _begin(self, header: gateway_pb2.ExportHeader) -> bool:
        self._header = header
        if self._has(header):
            return False
        if header.unchanged:
            raise self._error("INTERNAL", "unchanged, which was not asked")
        if self._part is None or self._part.version != header.version:
            self.close()
            self._part = PartialFile(self._out, header.version)
        if header.offset == 0:
            self._part.clear()
        elif header.offset != self._part.size:
            raise self._error(
                "INTERNAL", f"bytes from {header.offset} on, which were not asked for"
            )
        self._began_at = header.offset
        return True

    def _has(self, header: gateway_pb2.ExportHeader) -> bool:
        """Whether the files in place are that version."""
        return self._kept is not None and self._kept.version == header.version

    def _unchanged(self, header: gateway_pb2.ExportHeader) -> Fetched:
        assert self._kept is not None
        kept = self._kept
        return self._fetched(header, kept.files, kept.sha256, kept.size_bytes, unchanged=True)

    def _fetched(
        self,
        header: gateway_pb2.ExportHeader,
        files: tuple[Path, ...],
        sha256: str,
        size: int,
        *,
        unchanged: bool = False,
    ) -> Fetched:
        return Fetched(
            files=(self._shown, *files[1:]),
            subnet=header.subnet,
            expected_accuracy=header.expected_accuracy,
            predicted_latency_ms=header.predicted_latency_ms,
            format=header.format,
            version=header.version,
            sha256=sha256,
            size_bytes=size,
            unchanged=unchanged,
        )

    def _error(self, code: str, message: str) -> CallError:
        return CallError(self._target, code, message)

    @contextmanager
    def _naming_out(self) -> Iterator[None]:
        """A failed write does not say by itself which file it was for."""
        try:
            yield
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self._shown)) from None
