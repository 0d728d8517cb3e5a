"""The responses of a fetch, made from a folder of exports."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from gateway.calls import Call
from gateway.errors import InvalidRequest, TooManyFetches
from gateway.exports.builder import Builder
from gateway.exports.cache import ExportCache
from gateway.exports.entry import write_entry
from gateway.exports.key import ExportKey
from gateway.exports.library import ExportLibrary
from gateway.exports.metrics import ExportMetrics
from gateway.request import Selection
from gateway.services.fetch_stream import CHUNK, FetchStreams, Wanted, wanted_from
from protos.compofa.v1 import gateway_pb2
from supernet.version import version

SELECTION = Selection("d2-2@12", 0.75, 1.5, False)
HASH = "0" * 32
SIZE = 2 * CHUNK + 100
Part = gateway_pb2.FetchSubnetResponse


@pytest.fixture
async def streams(tmp_path: Path) -> AsyncIterator[FetchStreams]:
    """Two at once, of one export that is there already."""
    file = tmp_path / "net"
    file.write_bytes(bytes(SIZE))
    write_entry("d2-2@12", "onnx", [file], tmp_path / "entry")
    cache, metrics = ExportCache(tmp_path, 10 * SIZE), ExportMetrics(CollectorRegistry(), str)
    cache.put(ExportKey(HASH, "d2-2@12", "onnx", version()), tmp_path / "entry").close()
    library = ExportLibrary(cache, Builder(tmp_path, 1.0), 1, metrics)
    yield FetchStreams(library, HASH, 2, metrics)
    await library.close()


def parts(streams: FetchStreams, call: Call | None = None, **wanted: Any) -> Any:
    fields: dict[str, Any] = {"format": "onnx", "version": "", "offset": 0}
    given = Wanted(**(fields | wanted))
    return streams.parts(SELECTION, given, call or Call("FetchSubnet", "peer"))


async def test_a_header_and_chunks_until_the_end(streams: FetchStreams) -> None:
    call = Call("FetchSubnet", "peer")
    header, *chunks = [part async for part in parts(streams, call)]
    assert [len(part.chunk) for part in chunks] == [CHUNK, CHUNK, 100]
    assert (header.header.expected_accuracy, header.header.predicted_latency_ms) == (0.75, 1.5)
    assert call.sent_bytes == SIZE
    rest = [p async for p in parts(streams, version=header.header.version, offset=SIZE - 7)]
    assert [len(part.chunk) for part in rest] == [0, 7]
    assert streams.open == 0


async def test_a_place_is_free_again_however_a_stream_ends(streams: FetchStreams) -> None:
    async with aclosing(parts(streams)) as first, aclosing(parts(streams)) as second:
        await anext(first)
        await anext(second)
        with pytest.raises(TooManyFetches):
            await anext(parts(streams))
    assert streams.open == 0
    known = (await anext(aiter(parts(streams)))).header.version
    for _ in range(3):
        with pytest.raises(InvalidRequest, match="offset: expected at most"):
            await anext(parts(streams, version=known, offset=SIZE + 1))
        assert streams.open <= 1


async def test_a_file_that_is_cut_while_it_is_read_is_no_endless_stream(
    streams: FetchStreams, tmp_path: Path
) -> None:
    async with aclosing(parts(streams)) as open_parts:
        await anext(open_parts)
        (path,) = tmp_path.glob("*.export")
        with path.open("r+b") as file:
            file.truncate(CHUNK // 2)
        with pytest.raises(OSError, match="cut short"):
            [part async for part in open_parts]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"format": "tflite"}, "format: expected one of onnx, "),
        ({"format": "x" * 1000}, r"format: expected .* \(1000 long\)"),
        ({"offset": -1}, "offset: expected a number of bytes, 0 or more, got -1"),
    ],
)
def test_what_makes_no_sense(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        wanted_from(gateway_pb2.FetchSubnetRequest(**fields))


def test_onnx_is_meant_where_nothing_is_said() -> None:
    assert wanted_from(gateway_pb2.FetchSubnetRequest(version="v", offset=3)) == Wanted(
        "onnx", "v", 3
    )
