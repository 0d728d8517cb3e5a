"""A task that goes on whatever becomes of its work, but not once it is cancelled."""

from __future__ import annotations

import asyncio


def end_if_cancelled() -> None:
    """Raise `CancelledError` where the current task was told to end and has not heard of it, or
    only as the error of what failed meanwhile: a store that fails as it is closed hides why.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
