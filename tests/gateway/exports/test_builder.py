"""The process that exports, and what its failures become; tests/services has real exports."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.errors import CannotExport
from gateway.exports import builder as under_test
from gateway.exports.builder import Builder, ExportCrashedError
from gateway.exports.key import ExportKey
from gateway.exports.workplace import workplace
from supernet.manifest import Manifest


@pytest.fixture
def key(manifest: Manifest) -> ExportKey:
    return ExportKey(manifest.artifact_hash, "d2-2@12", "torch", "1.0")


async def build(builder: Builder, key: ExportKey, folder: Path) -> None:
    async with workplace(folder) as lock:
        await builder.build(key, folder, lock)


def saying(monkeypatch: pytest.MonkeyPatch, script: str, *arguments: object) -> None:
    """Let a shell script stand where the export is run."""
    command = ["/bin/sh", "-c", script, "sh", *map(str, arguments)]
    monkeypatch.setattr(under_test, "export_command", lambda *_: command)


async def test_it_is_our_exporter_whatever_lies_where_the_gateway_was_started(
    artifact_folder: Path, key: ExportKey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "training").mkdir()  # a user's own folder of that name
    (tmp_path / "training" / "__init__.py").write_text("raise SystemExit('not this one')")
    (tmp_path / "hidden").mkdir()  # what is missing is told before anything slow begins
    hiding = "import sys; sys.modules['onnxruntime'] = None\n"
    (tmp_path / "hidden" / "sitecustomize.py").write_text(hiding)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "hidden"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CannotExport, match="format 'onnx' needs onnxruntime: pip install"):
        await build(Builder(artifact_folder, 90.0), replace(key, format="onnx"), tmp_path / "work")


async def test_files_that_belong_to_the_main_one_come_after_it(
    artifact_folder: Path, key: ExportKey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = 'echo c > "$1"; echo b > "${1%.pt2}.map"; echo a > "${1%.pt2}.bin"'
    monkeypatch.setattr(
        under_test, "export_command", lambda *given: ["/bin/sh", "-c", script, "sh", given[-1]]
    )
    async with workplace(tmp_path / "work") as lock:
        files = await Builder(artifact_folder, 10.0).build(key, tmp_path / "work", lock)
        assert [file.read_text() for file in files] == ["c\n", "a\n", "b\n"]
    assert [file.name for file in files] == ["d2-2@12.pt2", "d2-2@12.bin", "d2-2@12.map"]


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo \"compofa: format 'torch' needs x\" >&2; exit 1", "format 'torch' needs x"),
        ("echo usage >&2; exit 2", "format: 'torch' is none that this gateway can build"),
        ("echo 'compofa: /cache/net: No space left on device' >&2; exit 1",
         "the gateway's disk has no room for the export"),
        ("echo \"compofa: $1: File too large\" >&2; exit 1",
         "the gateway's disk has no room for the export"),
    ],
)  # fmt: skip
async def test_what_a_caller_may_know(
    artifact_folder: Path, key: ExportKey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    script: str, message: str,
) -> None:  # fmt: skip
    saying(monkeypatch, script, tmp_path / "work" / "net")
    with pytest.raises(CannotExport) as caught:
        await build(Builder(artifact_folder, 10.0), key, tmp_path / "work")
    assert caught.value.safe_message == message
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("echo Traceback >&2; echo 'ZeroDivisionError: x' >&2; exit 1", "ZeroDivisionError: x"),
        ("kill -SEGV $$", "exit status -11"),
        ("exit 3", "exit status 3"),
        ('echo "compofa: artifact $1: weights are damaged" >&2; exit 1', "weights are damaged"),
        ("exec sleep 60", "no end after 0.5 s"),
    ],
)
async def test_what_only_the_log_may_know(
    artifact_folder: Path, key: ExportKey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    script: str, told: str,
) -> None:  # fmt: skip
    saying(monkeypatch, script, artifact_folder)
    with pytest.raises(ExportCrashedError, match=told):
        await build(Builder(artifact_folder, 0.5), key, tmp_path / "work")


async def test_a_killed_export_takes_all_it_started_with_it(
    artifact_folder: Path, key: ExportKey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted = tmp_path / "pid"
    saying(monkeypatch, 'sleep 60 & echo $! > "$1"; wait', noted)
    with pytest.raises(ExportCrashedError):
        await build(Builder(artifact_folder, 0.5), key, tmp_path / "work")
    status = Path(f"/proc/{noted.read_text().strip()}/stat")
    assert not status.exists() or " Z " in status.read_text()  # its parent may not have looked


async def test_an_artifact_that_is_another_one_meanwhile(
    artifact_folder: Path, key: ExportKey, tmp_path: Path
) -> None:
    other = ExportKey("f" * 32, key.subnet, key.format, key.compofa_version)
    with pytest.raises(CannotExport, match="no longer the one that it serves"):
        await build(Builder(artifact_folder, 10.0), other, tmp_path / "work")


async def test_an_artifact_that_changes_during_the_export(
    artifact_folder: Path, key: ExportKey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = tmp_path / "net"
    shutil.copytree(artifact_folder, mine)
    saying(monkeypatch, 'sed -i \'s/"weights_sha256": *"./&0/\' "$1/artifact.json"', mine)
    with pytest.raises(CannotExport, match="no longer the one that it serves"):
        await build(Builder(mine, 10.0), key, tmp_path / "work")
