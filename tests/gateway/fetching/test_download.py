"""A fetch into a file, by hand: what is asked for, what is believed, what is left."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.client_values import CallError
from gateway.fetching.download import MAX_BROKEN, Download
from gateway.fetching.fetched import Fetched
from gateway.request import Constraints
from protos.compofa.v1 import gateway_pb2
from tests.full_disk import files_at_most

ALPHA = Constraints("alpha", latency_budget_ms=3.0)
DATA = bytes(range(250)) * 4
VERSION = "made-of-this"
Response = gateway_pb2.FetchSubnetResponse
Open = Callable[[], Download]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "net.onnx"


@pytest.fixture
def opened(out: Path) -> Open:
    return lambda: Download("there", out, "onnx", ALPHA)


def header(data: bytes = DATA, **fields: Any) -> Response:
    files = fields.pop("files", [("d2-2@12.onnx", len(data))])
    given: dict[str, Any] = {
        "subnet": "d2-2@12", "expected_accuracy": 0.9, "predicted_latency_ms": 1.5,
        "format": "onnx", "version": VERSION, "size": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
    }  # fmt: skip
    found = gateway_pb2.ExportHeader(**(given | fields))
    for name, size in files:
        found.files.add(name=name, size=size)
    return Response(header=found)


def chunk(data: bytes) -> Response:
    return Response(chunk=data)


def fetched(opened: Open, *responses: Response) -> Fetched:
    with opened() as download:
        for response in responses:
            assert download.take(response)
        return download.finish()


def names(out: Path) -> list[str]:
    return sorted(path.name for path in out.parent.iterdir())


def test_what_comes_is_put_in_place(opened: Open, out: Path) -> None:
    out.write_bytes(b"old")
    with opened() as download:
        request = download.request()
        assert (request.device_class, request.latency_budget_ms) == ("alpha", 3.0)
        assert (request.format, request.version, request.offset) == ("onnx", "", 0)
        download.take(header())
        download.take(chunk(DATA[:600]))
        assert out.read_bytes() == b"old"
        download.take(chunk(DATA[600:]))
        done = download.finish()
    assert out.read_bytes() == DATA
    assert done.as_json() == {
        "files": [str(out)], "subnet": "d2-2@12", "expected_accuracy": 0.9,
        "predicted_latency_ms": 1.5, "format": "onnx", "version": VERSION,
        "sha256": hashlib.sha256(DATA).hexdigest(), "bytes": len(DATA), "unchanged": False,
    }  # fmt: skip
    assert names(out) == [".net.onnx.fetched", "net.onnx"]


def test_what_is_there_is_asked_about_and_left(opened: Open, out: Path) -> None:
    first = fetched(opened, header(), chunk(DATA))
    with opened() as download:
        assert download.request().version == VERSION
        assert not download.take(Response(header=gateway_pb2.ExportHeader(
            subnet="d2-2@12", version=VERSION, format="onnx", unchanged=True
        )))  # fmt: skip
        done = download.finish()
    assert done.unchanged
    assert (done.sha256, done.size_bytes, done.files) == (
        first.sha256, first.size_bytes, (out,)
    )  # fmt: skip


@pytest.mark.parametrize("change", ["written", "gone", "note"])
def test_what_is_no_longer_there_is_not_claimed(opened: Open, out: Path, change: str) -> None:
    fetched(opened, header(), chunk(DATA))
    if change == "written":
        out.write_bytes(DATA[:-1] + b"x")
    elif change == "gone":
        out.unlink()
    else:
        out.with_name(".net.onnx.fetched").write_text("[]")
    with opened() as download:
        assert download.request().version == ""
        with pytest.raises(CallError, match="unchanged, which was not asked"):
            download.take(header(unchanged=True))


def test_a_broken_stream_is_gone_on_with(opened: Open, out: Path) -> None:
    with opened() as download:
        download.take(header())
        download.take(chunk(DATA[:300]))
        assert download.pause_s(CallError("there", "UNAVAILABLE", "gone")) > 0
        request = download.request()
        assert (request.version, request.offset) == (VERSION, 300)
        download.take(header(offset=300))
        download.take(chunk(DATA[300:500]))
    assert names(out) == [f".net.onnx.{VERSION}.part"]  # and by a later process:
    with opened() as download:
        assert (download.request().version, download.request().offset) == (VERSION, 500)
        download.take(header(offset=500))
        download.take(chunk(DATA[500:]))
        download.finish()
    assert out.read_bytes() == DATA
    assert names(out) == [".net.onnx.fetched", "net.onnx"]


def test_all_of_it_was_there_but_for_its_place(opened: Open, out: Path) -> None:
    with opened() as download:
        download.take(header())
        download.take(chunk(DATA))
    fetched(opened, header(offset=len(DATA)))
    assert out.read_bytes() == DATA


def test_another_version_begins_anew(opened: Open, out: Path) -> None:
    with opened() as download:
        download.take(header())
        download.take(chunk(DATA[:300]))
    fetched(opened, header(b"new" * 100, version="other"), chunk(b"new" * 100))
    assert out.read_bytes() == b"new" * 100
    assert names(out) == [".net.onnx.fetched", "net.onnx"]


def test_the_part_of_an_older_version_does_not_hide_what_is_there(opened: Open, out: Path) -> None:
    fetched(opened, header(), chunk(DATA))
    with opened() as download:
        download.take(header(version="newer"))
        download.take(chunk(DATA[:10]))
    with opened() as download:
        assert (download.request().version, download.request().offset) == ("newer", 10)
        assert not download.take(header(offset=0))  # the gateway has gone back to the older one
        assert download.finish().unchanged
    assert names(out) == [".net.onnx.fetched", "net.onnx"]


def test_a_spoilt_part_costs_a_second_try_and_no_more(opened: Open, out: Path) -> None:
    with opened() as download:
        download.take(header())
        download.take(chunk(DATA[:300]))
    part = out.with_name(f".net.onnx.{VERSION}.part")
    part.write_bytes(b"x" * 300)
    with opened() as download:
        download.take(header(offset=300))
        download.take(chunk(DATA[300:]))
        with pytest.raises(CallError, match="DATA_LOSS: what came is not what was sent") as caught:
            download.finish()
        assert not out.exists()
        assert download.pause_s(caught.value) == 0
        assert download.request().offset == 0
        download.take(header())
        download.take(chunk(DATA[:-1]))
        with pytest.raises(CallError, match="DATA_LOSS") as caught:
            download.finish()
        with pytest.raises(CallError):
            download.pause_s(caught.value)
    assert names(out) == []


def test_a_part_that_is_too_long_begins_anew(opened: Open, out: Path) -> None:
    out.with_name(f".net.onnx.{VERSION}.part").write_bytes(b"x" * 5000)
    with opened() as download:
        assert download.request().offset == 5000
        error = CallError("there", "INVALID_ARGUMENT", "offset: expected at most 1000, got 5000")
        assert download.pause_s(error) == 0
        assert (download.request().offset, download.request().version) == (0, "")


@pytest.mark.parametrize(
    "code", ["NOT_FOUND", "DEADLINE_EXCEEDED", "INTERNAL", "INVALID_ARGUMENT", "UNAVAILABLE"]
)
def test_what_would_be_the_same_again_is_not_tried_again(
    opened: Open, out: Path, code: str
) -> None:
    part = out.with_name(f".net.onnx.{VERSION}.part")
    part.write_bytes(b"part")
    with opened() as download, pytest.raises(CallError, match="no"):
        download.pause_s(CallError("there", code, "no"))
    assert part.read_bytes() == b"part"


def test_there_is_an_end_to_broken_streams(opened: Open) -> None:
    error = CallError("there", "UNAVAILABLE", "gone")
    with opened() as download:
        download.take(header())
        pauses = [download.pause_s(error) for _ in range(MAX_BROKEN)]
        assert pauses == sorted(pauses)
        with pytest.raises(CallError):
            download.pause_s(error)
        download.take(chunk(b"x"))
        assert download.pause_s(error) == pauses[0]


def test_several_files_are_cut_from_one_stream(opened: Open, out: Path) -> None:
    files = [("a.xml", 100), ("a.bin", 0), ("a.mapping", 900)]
    done = fetched(opened, header(files=files), chunk(DATA[:150]), chunk(DATA[150:]))
    assert [file.name for file in done.files] == ["net.onnx", "net.bin", "net.mapping"]
    assert b"".join(file.read_bytes() for file in done.files) == DATA
    assert [file.stat().st_size for file in done.files] == [100, 0, 900]
    assert len(names(out)) == 4
    with opened() as download:
        assert download.request().version == VERSION
    done.files[2].write_bytes(b"")
    with opened() as download:
        assert download.request().version == ""


@pytest.mark.parametrize(
    "files",
    [
        [("a.onnx", 500), ("b.onnx", 500)],
        [("a", 500), ("../../b", 500)],
        [("a", 500), ("b./c", 500)],
        [],
    ],
)
def test_names_that_would_lead_elsewhere_are_refused(
    opened: Open, out: Path, files: list[tuple[str, int]]
) -> None:
    with opened() as download:
        download.take(header(files=files))
        download.take(chunk(DATA))
        with pytest.raises(ValueError, match="cannot hold the files"):
            download.finish()
    assert not out.exists()


@pytest.mark.parametrize("version", ["", "../x", "a b", "x" * 65])
def test_a_version_that_is_none_is_refused(opened: Open, out: Path, version: str) -> None:
    with opened() as download, pytest.raises(ValueError, match="version: expected"):
        download.take(header(version=version))
    assert names(out) == []


@pytest.mark.parametrize(
    ("responses", "message"),
    [
        ([chunk(b"x")], "chunks before a header"),
        ([header(offset=5)], "bytes from 5 on, which were not asked for"),
        ([], "no header"),
    ],
)
def test_what_is_no_answer(opened: Open, responses: list[Response], message: str) -> None:
    with pytest.raises(CallError, match=f"there: INTERNAL: {message}"):
        fetched(opened, *responses)


def test_two_at_once_do_not_write_to_one_file(opened: Open, out: Path) -> None:
    with opened() as first:
        first.take(header())
        first.take(chunk(DATA[:10]))
        with pytest.raises(ValueError, match="another fetch is writing it"):
            opened()
        first.take(chunk(DATA[10:]))
        first.finish()
    assert out.read_bytes() == DATA


def test_a_link_stays_and_leads_to_the_new_file(tmp_path: Path) -> None:
    (tmp_path / "current").symlink_to("net-1.onnx")
    with Download("there", tmp_path / "current", "onnx", ALPHA) as download:
        download.take(header())
        download.take(chunk(DATA))
        assert download.finish().files == (tmp_path / "current",)
    assert (tmp_path / "current").is_symlink()
    assert (tmp_path / "net-1.onnx").read_bytes() == DATA


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected a file, something else is there"):
        Download("there", tmp_path, "onnx", ALPHA)
    out = tmp_path / "missing" / "net"
    missing = pytest.raises(FileNotFoundError)
    with Download("there", out, "onnx", ALPHA) as download, missing as caught:
        download.take(header())
    assert caught.value.filename == str(out)


def test_a_full_disk_keeps_what_came(opened: Open, out: Path) -> None:
    large = bytes(range(250)) * 800
    with opened() as download:
        download.take(header(large))
        with files_at_most(100_000), pytest.raises(OSError, match="too large") as caught:
            download.take(chunk(large))
        assert caught.value.filename == str(out)
    with opened() as download:
        assert download.request().offset == 100_000
        download.take(header(large, offset=100_000))
        download.take(chunk(large[100_000:]))
        download.finish()
    assert out.read_bytes() == large
