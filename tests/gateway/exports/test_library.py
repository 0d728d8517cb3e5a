"""Who waits for an export, who builds it, and what is left when nobody does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry

from gateway.errors import CannotExport
from gateway.exports.builder import Builder, ExportCrashedError
from gateway.exports.cache import ExportCache
from gateway.exports.key import ExportKey
from gateway.exports.library import ExportLibrary
from gateway.exports.metrics import ExportMetrics
from tests.full_disk import files_at_most
from tests.gateway.following import until


def key(number: int = 1) -> ExportKey:
    return ExportKey("0" * 32, f"d2-2@{number}", "torch", "1.0")


class Slow:
    """Takes as long as it is told; the exporter itself takes seconds."""

    def __init__(self) -> None:
        self.go, self.error = asyncio.Event(), cast("Exception | None", None)
        self.begun, self.killed, self.at_once, self.most = 0, 0, 0, 0

    async def build(self, key: ExportKey, folder: Path, lock: int) -> tuple[Path, ...]:  # noqa: ARG002
        self.begun += 1
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.killed += 1
            raise
        finally:
            self.at_once -= 1
        if self.error is not None:
            raise self.error
        file = folder / key.file_name
        file.write_bytes(key.subnet.encode() * 1000)
        return (file,)


class Bench:
    """A library around a slow builder."""

    def __init__(self, folder: Path, max_builds: int = 1, max_bytes: int = 1_000_000) -> None:
        self.registry, self.builder = CollectorRegistry(), Slow()
        metrics = ExportMetrics(self.registry, lambda name: name)
        self.library = ExportLibrary(
            ExportCache(folder, max_bytes), cast(Builder, self.builder), max_builds, metrics
        )

    def wait_for(self, number: int = 1) -> asyncio.Task[bytes]:
        async def read() -> bytes:
            export = await self.library.open(key(number))
            try:
                return await self.library.read(export, 0, 7)
            finally:
                self.library.close_export(export)

        return asyncio.create_task(read())

    def builds(self, outcome: str) -> float:
        labels = {"format": "torch", "outcome": outcome}
        return self.registry.get_sample_value("compofa_export_builds_total", labels) or 0


Make = Callable[..., Bench]


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Make]:
    made = []

    def bench(**options: Any) -> Bench:
        made.append(Bench(tmp_path / "exports", **options))
        return made[-1]

    yield bench
    for each in made:
        await each.library.close()


async def test_all_who_wait_share_one_build(make: Make) -> None:
    bench = make()
    tasks = [bench.wait_for() for _ in range(20)]
    await until(lambda: bench.builder.begun, 5)
    tasks += [bench.wait_for() for _ in range(20)]
    bench.builder.go.set()
    assert set(await asyncio.gather(*tasks)) == {b"d2-2@1d"}
    assert (bench.builder.begun, bench.builds("built")) == (1, 1)
    await bench.wait_for()
    assert bench.builder.begun == 1
    assert bench.registry.get_sample_value(
        "compofa_export_build_seconds_count", {"format": "torch"}
    ) == 1  # fmt: skip


async def test_the_build_ends_with_the_last_who_waits(make: Make, tmp_path: Path) -> None:
    bench = make()
    tasks = [bench.wait_for() for _ in range(3)]
    await until(lambda: bench.builder.begun, 5)
    for task in tasks[:2]:
        task.cancel()
    await asyncio.sleep(0.05)
    assert bench.builder.killed == 0
    tasks[2].cancel()
    await until(lambda: bench.builder.killed == 1, 5)
    await until(lambda: not list((tmp_path / "exports").iterdir()), 5)
    assert bench.builds("cancelled") == 1


async def test_one_who_comes_while_it_is_being_killed_gets_a_new_one(make: Make) -> None:
    bench = make()
    first = bench.wait_for()
    await until(lambda: bench.builder.begun, 5)
    first.cancel()
    second = bench.wait_for()
    bench.builder.go.set()
    assert await second == b"d2-2@1d"
    assert (bench.builder.begun, bench.builder.killed) == (2, 1)


async def test_so_many_are_built_at_once(make: Make) -> None:
    bench = make(max_builds=2)
    tasks = [bench.wait_for(number) for number in range(1, 7)]
    await until(lambda: bench.builder.begun == 2, 5)
    await asyncio.sleep(0.05)
    assert bench.builder.begun == 2
    bench.builder.go.set()
    await asyncio.gather(*tasks)
    assert (bench.builder.begun, bench.builder.most) == (6, 2)


async def test_one_who_waits_for_a_place_can_give_up(make: Make) -> None:
    bench = make()
    first = bench.wait_for(1)
    await until(lambda: bench.builder.begun, 5)
    second = bench.wait_for(2)
    await asyncio.sleep(0.05)
    second.cancel()
    bench.builder.go.set()
    assert await first == b"d2-2@1d"
    assert bench.builder.begun == 1


@pytest.mark.parametrize("error", [CannotExport("no"), ExportCrashedError("bug"), OSError(5, "io")])
async def test_all_who_wait_are_told_and_the_next_tries_again(make: Make, error: Exception) -> None:
    bench = make()
    tasks = [bench.wait_for() for _ in range(3)]
    bench.builder.error = error
    bench.builder.go.set()
    assert await asyncio.gather(*tasks, return_exceptions=True) == [error] * 3
    assert bench.builds("failed") == 1
    bench.builder.error = None
    assert await bench.wait_for() == b"d2-2@1d"


async def test_a_full_disk_is_told_as_one(make: Make, tmp_path: Path) -> None:
    bench = make()
    bench.builder.go.set()
    with files_at_most(1000), pytest.raises(CannotExport, match="no room"):
        await bench.wait_for()
    assert list((tmp_path / "exports").iterdir()) == []


async def test_an_export_larger_than_the_bound_is_read_and_then_goes(
    make: Make, tmp_path: Path
) -> None:
    bench = make(max_bytes=100)
    bench.builder.go.set()
    export = await bench.library.open(key())
    assert len(export.read(0, 10_000)) == 6000
    assert [path.suffix for path in (tmp_path / "exports").iterdir()] == [".export"]
    bench.library.close_export(export)
    await until(lambda: not list((tmp_path / "exports").iterdir()), 5)


async def test_whoever_gives_up_when_leaves_nothing_open(make: Make) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    bench = make(max_bytes=1)
    bench.builder.go.set()
    for number in range(80):
        task = bench.wait_for(number % 3)
        for _ in range(number % 40):
            await asyncio.sleep(0.0001)
        task.cancel()
    await asyncio.gather(*asyncio.all_tasks() - {asyncio.current_task()}, return_exceptions=True)
    await bench.library.close()
    assert bench.builds("built") > 0
    assert len(list(Path("/proc/self/fd").iterdir())) <= before


async def test_two_on_one_folder_build_once(make: Make) -> None:
    benches = [make(), make()]
    tasks = [bench.wait_for() for bench in benches]
    await until(lambda: sum(bench.builder.begun for bench in benches), 5)
    for bench in benches:
        bench.builder.go.set()
    assert await asyncio.gather(*tasks) == [b"d2-2@1d"] * 2
    assert sum(bench.builder.begun for bench in benches) == 1


async def test_closing_ends_what_is_built(make: Make, tmp_path: Path) -> None:
    bench = make()
    task = bench.wait_for()
    await until(lambda: bench.builder.begun, 5)
    await bench.library.close()
    assert bench.builder.killed == 1
    assert list((tmp_path / "exports").iterdir()) == []
    await asyncio.gather(task, return_exceptions=True)


async def test_a_folder_that_cannot_be_used_does_not_keep_a_gateway_from_starting(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    bench = Bench(tmp_path / "file" / "exports")
    await bench.library.start()
    assert "no folder for exports" in caplog.text
    bench.builder.go.set()
    with pytest.raises(OSError, match="Not a directory"):
        await bench.wait_for()
    await bench.library.close()
    assert "Traceback" not in caplog.text
