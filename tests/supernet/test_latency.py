"""A latency table keeps its numbers, says where they come from, and is refused in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from supernet.latency import BlockTime, LatencyTable, read_table


@pytest.fixture
def table() -> LatencyTable:
    return LatencyTable(
        device_class="board",
        artifact_hash="0" * 32,
        source="measured on a board",
        measured=True,
        latency_ms={"d2-2@12": 1.5, "d3-3@12": 2.5},
        p95_ms={"d2-2@12": 2.0},
        blocks={12: {"Conv": BlockTime(mean=0.5, std=0.1, count=3), "Logits": BlockTime(mean=0)}},
        default_budget_ms=2.0,
        conditions={"threads": "1"},
    )


def test_file_round_trip(table: LatencyTable, tmp_path: Path) -> None:
    path = tmp_path / "board.json"
    path.write_text(table.model_dump_json())
    assert read_table(path) == table


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("2026-03-01T12:00:00", "2026-03-01T12:00:00+00:00"),
        ("2026-03-01T12:00:00+14:00", "2026-02-28T22:00:00+00:00"),
        ("1970-01-01T00:00:00Z", "1970-01-01T00:00:00+00:00"),
    ],
)
def test_a_time_means_the_same_wherever_it_is_read(
    table: LatencyTable, said: str, meant: str
) -> None:
    made = LatencyTable.model_validate(table.model_dump() | {"created": said})
    assert made.created.isoformat() == meant


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("created", "0001-01-01T00:00:00"),
        ("created", "0001-01-01T00:00:00+14:00"),
        ("created", "9999-12-31T23:59:59-12:00"),
        ("source", "\x1b[2J"),
        ("source", "two\nlines"),
        ("source", "\ud800"),
        ("source", "x" * 1001),
        ("created_by", "\x9b2J"),
        ("created_by", ""),
        ("latency_ms", {"d2-2@12": True}),
        ("latency_ms", {"d2-2@12": "1.5"}),
        ("std_ms", {"d2-2@12": True}),
    ],
)
def test_what_no_reader_could_show_or_count_is_refused(
    table: LatencyTable, field: str, value: object
) -> None:
    with pytest.raises(ValidationError) as caught:
        LatencyTable.model_validate(table.model_dump() | {field: value})
    assert {error["loc"][0] for error in caught.value.errors()} == {field}


def test_a_scaled_table_is_never_taken_for_a_measured_one(table: LatencyTable) -> None:
    slow = table.scaled(4.0, "imagined", default_budget_ms=9.0)
    assert slow.latency_ms == {"d2-2@12": 6.0, "d3-3@12": 10.0}
    assert slow.p95_ms == {"d2-2@12": 8.0}
    assert slow.device_class == "imagined"
    assert slow.blocks == {}
    assert slow.default_budget_ms == 9.0
    assert (slow.kind, slow.measured) == ("derived", False)
    assert slow.source == "not measured: board times 4"
    assert slow.artifact_hash == table.artifact_hash
    assert table.measured


@pytest.mark.parametrize(
    ("source", "measured", "kind"),
    [
        ("measured: a board", True, "measured"),
        ("a board", True, "measured"),
        ("imported: lut", False, "imported"),
        ("transferred from board", False, "transferred"),
        ("Learned from 9 reports", False, "learned"),
        ("not measured: board times 4", False, "derived"),
        ("", False, "derived"),
    ],
)
def test_a_table_without_a_kind_gets_the_one_it_tells_of(
    table: LatencyTable, source: str, measured: bool, kind: str
) -> None:
    document = table.model_dump(mode="json") | {"source": source, "measured": measured}
    del document["kind"]
    assert LatencyTable.model_validate(document).kind == kind
    assert LatencyTable.model_validate_json(json.dumps(document)).kind == kind
    assert LatencyTable.model_validate(document | {"kind": "learned"}).kind == "learned"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"device_class": "a board"}, "device_class"),
        ({"device_class": "../board"}, "device_class"),
        ({"device_class": ""}, "device_class"),
        ({"latency_ms": {}}, "latency_ms"),
        ({"latency_ms": {"d2-2@12": 0.0}}, "latency_ms.d2-2@12"),
        ({"latency_ms": {"d2-2@12": -1.0}}, "latency_ms.d2-2@12"),
        ({"latency_ms": {"d2-2@12": "fast"}}, "latency_ms.d2-2@12"),
        ({"latency_ms": {"d2-2@12": float("nan")}}, "latency_ms.d2-2@12"),
        ({"latency_ms": {"d2-2@12": float("inf")}}, "latency_ms.d2-2@12"),
        ({"default_budget_ms": -1.0}, "default_budget_ms"),
        ({"blocks": {"160": {}}}, "blocks.160"),
        ({"blocks": {"0": {"Conv": {"mean": 1.0}}}}, "blocks.0.[key]"),
        ({"blocks": {"wide": {"Conv": {"mean": 1.0}}}}, "blocks.wide.[key]"),
        ({"blocks": {"160": {"Conv": {"mean": -1.0}}}}, "blocks.160.Conv.mean"),
        ({"blocks": {"160": {"Conv": {"mean": float("nan")}}}}, "blocks.160.Conv.mean"),
        ({"blocks": {"160": {"Conv": {"mean": 1, "std": -1}}}}, "blocks.160.Conv.std"),
        ({"blocks": {"160": {"Conv": {"mean": 1, "count": 0.5}}}}, "blocks.160.Conv.count"),
        ({"blocks": {"160": {"Conv": {}}}}, "blocks.160.Conv.mean"),
        ({"blocks": {"160": {"Conv": 1.0}}}, "blocks.160.Conv"),
        ({"created": "yesterday"}, "created"),
        ({"created_by": ""}, "created_by"),
        ({"created_by": "two\nlines"}, "created_by"),
        ({"kind": "guessed"}, "kind"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_bad_field_is_named_in_one_line(
    table: LatencyTable, tmp_path: Path, change: dict[str, Any], field: str
) -> None:
    path = tmp_path / "board.json"
    path.write_text(json.dumps(table.model_dump(mode="json") | change))
    with pytest.raises(ValueError, match="latency table") as caught:
        read_table(path)
    message = str(caught.value)
    assert message.startswith(f"latency table {path}: {field}: ")
    assert "\n" not in message


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe"])
def test_no_table_at_all(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "board.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"latency table {path}: ") as caught:
        read_table(path)
    assert "\n" not in str(caught.value)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="No such file or directory"):
        read_table(tmp_path / "nothing.json")
    with pytest.raises(ValueError, match="Is a directory"):
        read_table(tmp_path)
