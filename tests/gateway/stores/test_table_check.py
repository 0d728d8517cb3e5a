from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from gateway.stores.table_check import (
    LONGEST_MS,
    SHORTEST_MS,
    RefusedTableError,
    check_subnets,
    read_document,
)
from gateway.stores.tables import MAX_DOCUMENT_BYTES, TableDocument
from supernet.latency import read_bundled_tables
from supernet.manifest import Manifest, read_manifest


@pytest.fixture
def manifest(artifact_folder: Path) -> Manifest:
    return read_manifest(artifact_folder)


@pytest.fixture
def content(artifact_folder: Path) -> dict[str, Any]:
    """A good table of `alpha`, as JSON has it."""
    content: dict[str, Any] = json.loads(read_bundled_tables(artifact_folder)[0].model_dump_json())
    return content


def document(content: object) -> TableDocument:
    text = json.dumps(content).encode()
    return TableDocument(3, len(text), text, hashlib.sha256(text).hexdigest())


def refused(found: TableDocument, manifest: Manifest) -> tuple[str, str]:
    with pytest.raises(RefusedTableError) as caught:
        read_document("alpha", found, manifest)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) <= 300
    return caught.value.reason, message


def test_a_good_table_is_read(content: dict[str, Any], manifest: Manifest) -> None:
    stored = read_document("alpha", document(content), manifest)
    assert (stored.version, stored.table.latency_ms) == (3, content["latency_ms"])
    text = document(content).text
    assert read_document("alpha", TableDocument(3, len(text), text), manifest) == stored


@pytest.mark.parametrize("ms", [SHORTEST_MS, LONGEST_MS])
def test_bounds_are_within(content: dict[str, Any], manifest: Manifest, ms: float) -> None:
    content["latency_ms"]["d2-2@12"] = ms
    read_document("alpha", document(content), manifest)


@pytest.mark.parametrize(
    ("change", "reason", "message"),
    [
        ({"latency_ms": {"d2-2@12": float("nan")}}, "latency", "latency_ms.d2-2@12: "),
        ({"latency_ms": {"d2-2@12": float("inf")}}, "latency", "latency_ms.d2-2@12: "),
        ({"latency_ms": {"d2-2@12": -1.0}}, "latency", "latency_ms.d2-2@12: "),
        ({"latency_ms": {"d2-2@12": 0}}, "latency", "latency_ms.d2-2@12: "),
        ({"latency_ms": {"d2-2@12": 1e-4}}, "latency", "expected 0.001 to 600000 ms, got 0.0001"),
        ({"latency_ms": {"d2-2@12": 1e9}}, "latency", "expected 0.001 to 600000 ms, got 1e+09"),
        ({"p95_ms": {"d2-2@12": 1e9}}, "latency", "p95_ms.d2-2@12: expected"),
        ({"std_ms": {"d2-2@12": 1e300}}, "latency", "std_ms.d2-2@12: expected 0 to 600000 ms"),
        ({"p95_ms": {"d9-9@12": 1.0}}, "subnets", "p95_ms.d9-9@12: has no latency_ms"),
        ({"latency_ms": {}}, "latency", "latency_ms: "),
        ({"default_budget_ms": 1e-5}, "latency", "default_budget_ms: expected at least 0.001 ms"),
        ({"default_budget_ms": float("nan")}, "latency", "default_budget_ms: "),
        ({"latency_ms": {"d9-9@12": 1.0}}, "subnets", "not in the artifact's catalog: d9-9@12"),
        ({"latency_ms": {"x" * 9999: 1.0}}, "subnets", "not in the artifact's catalog: xxx"),
        ({"artifact_hash": "0" * 32}, "artifact", "belongs to another artifact"),
        ({"device_class": "beta"}, "device_class", "expected 'alpha', got 'beta'"),
        ({"device_class": "a b"}, "form", "device_class: "),
        ({"colour": "red"}, "form", "colour: "),
        ({"created": "yesterday"}, "form", "created: "),
        ({"created": "0001-01-01T00:00:00"}, "form", "created: "),
    ],
)
def test_a_table_that_must_not_be_served_by_is_refused(
    content: dict[str, Any],
    manifest: Manifest,
    change: dict[str, object],
    reason: str,
    message: str,
) -> None:
    said = refused(document(content | change), manifest)
    assert said[0] == reason
    assert message in said[1]


@pytest.mark.parametrize(
    "text", [b"", b"no JSON", b"[1]", b"null", b"\xff\xfe", b"[" * 100_000, b'{"latency_ms": 1']
)
def test_what_is_no_table_is_refused(manifest: Manifest, text: bytes) -> None:
    assert refused(TableDocument(1, len(text), text), manifest)[0] == "form"


def test_any_damaged_byte_is_noticed(content: dict[str, Any], manifest: Manifest) -> None:
    found = document(content)
    for i in range(0, found.size, 97):
        text = bytearray(found.text)
        text[i] ^= 1
        damaged = TableDocument(3, found.size, bytes(text), found.sha256)
        assert refused(damaged, manifest)[0] == "checksum"


def test_what_is_too_large_is_not_even_looked_at(manifest: Manifest) -> None:
    found = TableDocument(1, MAX_DOCUMENT_BYTES + 1, b"")
    assert refused(found, manifest) == ("size", "it has 16777217 bytes, expected at most 16777216")


def test_unknown_subnets_are_named(manifest: Manifest) -> None:
    check_subnets(manifest.catalog.subnets(), manifest.catalog)
    names = [f"d2-2@{resolution}" for resolution in (1, 2, 3, 4, 5)]
    with pytest.raises(ValueError, match=r"d2-2@1, d2-2@2, d2-2@3 \(and 2 more\)"):
        check_subnets(names, manifest.catalog)
