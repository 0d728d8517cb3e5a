"""The pages of `/debug`, of one gateway."""

from __future__ import annotations

import asyncio

from gateway.debugging import process, state
from gateway.debugging.pages import DebugPages
from gateway.debugging.profile import Profile
from gateway.engines.residency import Residency
from gateway.gauges import Followed
from gateway.pipeline import Pipeline


def debug_pages(pipeline: Pipeline, follower: Followed) -> DebugPages:
    """From within the event loop that requests are served in."""
    resident = pipeline.engine
    assert isinstance(resident, Residency)
    return DebugPages(
        {
            "engine": state.engine(resident, lambda: pipeline.worker_failures),
            "log-level": state.log_level,
            "profile": Profile(),
            "queue": state.queue(pipeline),
            "stacks": process.stacks,
            "tables": state.tables(pipeline.device_classes, follower),
            "tasks": process.Tasks(asyncio.get_running_loop()),
        },
        settable=["log-level"],
    )
