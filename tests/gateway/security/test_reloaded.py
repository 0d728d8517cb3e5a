"""Values read from files that change: whole, torn, gone, swapped as Kubernetes swaps a Secret."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest

from gateway.security.reloaded import Reloaded


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "number"
    path.write_text("1")
    return path


def of(file: Path) -> Reloaded[int]:
    return Reloaded("number", [file], lambda: int(file.read_text()))


def test_what_cannot_be_read_at_first_is_the_caller_s(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        of(tmp_path / "none")


def test_a_change_is_seen_and_what_is_wrong_keeps_what_was(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    number = of(file)
    file.write_text("22")
    number.look()
    assert (number.value, number.error) == (22, "")
    file.write_text("three")
    for _ in range(3):
        number.look()
    assert number.value == 22
    assert "invalid literal" in number.error
    assert len([r for r in caplog.records if r.levelname == "WARNING"]) == 1
    file.unlink()
    number.look()
    assert number.value == 22
    assert "No such file" in number.error
    file.write_text("4")
    number.look()
    assert (number.value, number.error) == (4, "")


def test_an_unchanged_file_is_not_read_again(file: Path) -> None:
    reads = []

    def read() -> int:
        reads.append(1)
        return int(file.read_text())

    number = Reloaded("number", [file], read)
    number.look()
    number.look()
    assert len(reads) == 1


def test_a_link_that_is_pointed_elsewhere_is_a_change(tmp_path: Path) -> None:
    for name, text in (("old", "1"), ("new", "2")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "number").write_text(text)
    data = tmp_path / "..data"
    data.symlink_to("old")
    number = of(data / "number")
    fresh = tmp_path / "..fresh"
    fresh.symlink_to("new")
    fresh.rename(data)
    number.look()
    assert number.value == 2


async def test_it_is_looked_at_again_and_again(file: Path) -> None:
    number = of(file)
    task = asyncio.create_task(number.run(every_s=0.01))
    file.write_text("22")
    async with asyncio.timeout(10):
        while number.value != 22:
            await asyncio.sleep(0.01)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
