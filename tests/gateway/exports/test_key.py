from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.exports.key import DEFAULT_FORMAT, SUFFIXES, ExportKey
from training.exports.formats import FORMATS

KEY = ExportKey("a" * 32, "d2-2@12", "torch", "1.0")
SHA256 = "b" * 64


@given(field=st.sampled_from(["artifact_hash", "subnet", "compofa_version"]), value=st.text())
def test_a_key_is_all_of_its_parts(field: str, value: str) -> None:
    other = replace(KEY, **{field: value})
    assert (other.digest == KEY.digest) == (other == KEY)
    assert other.is_of(KEY.version(SHA256)) == (other == KEY)


def test_parts_do_not_run_into_each_other() -> None:
    assert ExportKey("a", "bc", "torch", "d").digest != ExportKey("ab", "c", "torch", "d").digest


def test_a_version_tells_bytes_apart_and_what_they_are_of() -> None:
    version = KEY.version(SHA256)
    assert re.fullmatch(r"[A-Za-z0-9-]{1,64}", version), "as the protocol says"
    assert version != KEY.version("c" * 64)
    assert KEY.is_of(KEY.version("c" * 64))
    assert not KEY.is_of("")


@pytest.mark.parametrize("name", SUFFIXES)
def test_a_file_name_is_one_name(name: str) -> None:
    elastic = replace(KEY, subnet="d2-3/k3-5-7-3-5@128", format=name)
    assert elastic.file_name == f"d2-3_k3-5-7-3-5@128{SUFFIXES[name]}"


def test_every_format_of_the_exporters_can_be_asked_for() -> None:
    assert set(FORMATS) <= set(SUFFIXES)
    assert DEFAULT_FORMAT in FORMATS
