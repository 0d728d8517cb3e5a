from pathlib import Path

import pytest

from protos import generate


def test_what_is_committed_is_current() -> None:
    assert generate.outdated() == {}


def test_the_check_notices_an_edit_and_mends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/one.proto").write_text('syntax = "proto3"; package a; message One {}')
    (tmp_path / "a/gone_pb2.py").write_text("")
    monkeypatch.setattr(generate, "ROOT", tmp_path)
    assert generate.main(["--check"]) == 1
    assert not (tmp_path / "a/one_pb2.py").exists()
    assert generate.main([]) == 0
    assert (tmp_path / "a/one_pb2.py").exists()
    assert not (tmp_path / "a/gone_pb2.py").exists()
    capsys.readouterr()
    assert generate.main(["--check"]) == 0
    assert capsys.readouterr().err == ""
