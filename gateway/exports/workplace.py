"""A folder that one process at a time works in, and whatever that process starts.

The lock is on the folder itself: no file of locks stays behind, and it ends with the last process
that has it, however that ends.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

_LOOK_EVERY_S = 0.1


@asynccontextmanager
async def workplace(folder: Path) -> AsyncIterator[int]:
    """Wait for `folder` to be free; it is there then, and empty, and gone afterwards.

    Yields the descriptor that holds the lock. A process that inherits it goes on holding it where
    this one is killed, so that no other builds over its work. Raises `OSError`.
    """
    while (lock := _try_lock(folder)) is None:
        await asyncio.sleep(_LOOK_EVERY_S)
    try:
        yield lock
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


@contextmanager
def left_behind(folder: Path) -> Iterator[bool]:
    """Whether nobody works in a folder that is there; nobody will within the context then."""
    lock = _lock(folder)
    try:
        yield lock is not None
    finally:
        if lock is not None:
            os.close(lock)


def _try_lock(folder: Path) -> int | None:
    folder.mkdir(parents=True, exist_ok=True)
    lock = _lock(folder)
    if lock is None:
        return None
    try:
        for left in folder.iterdir():
            shutil.rmtree(left) if left.is_dir() else left.unlink()
    except BaseException:
        os.close(lock)
        raise
    return lock


def _lock(folder: Path) -> int | None:
    """None where another has it, or has just removed the folder."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(descriptor), folder.stat()):
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None
