from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.exports.workplace import left_behind, workplace


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_it_is_empty_and_gone_afterwards(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "work"
    (folder / "left").mkdir(parents=True)
    (folder / "file").touch()

    async def fail() -> None:
        async with workplace(folder):
            assert list(folder.iterdir()) == []
            (folder / "half").touch()
            raise RuntimeError("half-way")

    with pytest.raises(RuntimeError, match="half-way"):
        await fail()
    assert not folder.exists()


async def test_one_works_there_at_a_time(tmp_path: Path) -> None:
    inside, most = 0, 0

    async def work() -> None:
        nonlocal inside, most
        async with workplace(tmp_path / "work"):
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0.05)
            inside -= 1

    async with asyncio.timeout(10):
        await asyncio.gather(*(work() for _ in range(5)))
    assert most == 1


async def test_waiting_can_be_given_up(tmp_path: Path) -> None:
    folder = tmp_path / "work"
    async with workplace(folder):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3), workplace(folder):
                raise AssertionError("two at once")
        assert folder.exists()


async def test_what_was_started_there_holds_it(tmp_path: Path) -> None:
    folder = tmp_path / "work"
    before = open_files()
    async with workplace(folder) as lock:
        child = subprocess.Popen(
            [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=(lock,)
        )
        folder.rename(tmp_path / "kept")  # as if this process had been killed here
    with left_behind(tmp_path / "kept") as is_ours:
        assert not is_ours
    child.communicate(b"\n")
    with left_behind(tmp_path / "kept") as is_ours:
        assert is_ours
    assert open_files() == before
