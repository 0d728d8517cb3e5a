"""Memory that is free goes back to the system."""

from __future__ import annotations

import asyncio
import ctypes
import platform
import subprocess
import sys

import pytest

from gateway.heap import GROWN, Trimmer, kept_trim, resident_bytes
from tests.gateway.following import until

MIB = 2**20
HOLES = """
from gateway.heap import resident_bytes, trim
kept = [b'x' * 100_000 for _ in range(1500)]
del kept[:-1]  # what lies last keeps the rest from being handed back by itself
before = resident_bytes()
trim()
print(before - resident_bytes())
"""

glibc = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc" or not hasattr(ctypes.CDLL(None), "malloc_trim"),
    reason="the C library is not glibc",
)


@glibc
def test_what_was_freed_below_what_is_in_use_is_handed_back() -> None:
    done = subprocess.run(
        [sys.executable, "-c", HOLES], check=True, capture_output=True, text=True, timeout=60
    )
    assert int(done.stdout) > 100 * MIB


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says")
def test_resident_memory_is_that_of_this_process() -> None:
    before = resident_bytes()
    kept = bytearray(b"x" * (64 * MIB))
    assert resident_bytes() - before > 48 * MIB
    del kept


def test_it_trims_when_it_has_grown_since_its_least_and_not_otherwise() -> None:
    at_the_start, looks = 1000, [980, 985, 988, 990]  # the last is more than 1.01 of the least
    after_the_trim, more_looks = 985, [990, 985]
    sizes = iter([at_the_start, *looks, after_the_trim, *more_looks])
    trims: list[None] = []

    assert looks[-1] > GROWN * min(looks) > looks[-2]
    trimmer = Trimmer(lambda: next(sizes), lambda: trims.append(None))
    for _ in [*looks, *more_looks]:
        trimmer.look()
    assert len(trims) == 1


async def test_it_looks_again_and_again() -> None:
    looks: list[None] = []

    class Looking(Trimmer):
        def look(self) -> None:
            looks.append(None)

    task = asyncio.create_task(kept_trim(Looking(), 0.001))
    await until(lambda: len(looks) > 2, 10)
    task.cancel()
