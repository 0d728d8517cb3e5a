"""What the gateway itself holds this moment: who waits, tables, store, engine, log level.

Names and numbers, and nothing that callers sent for an answer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Protocol

from gateway import logs
from gateway.debugging.pages import Asked, Page
from gateway.gauges import Followed
from gateway.scheduling.job import Job
from gateway.stores.tables import DeviceClassInfo
from supernet.architecture import Architecture

MOST_JOBS = 1000


class Waiting(Protocol):
    """The part of a pipeline that the queue's page reads."""

    @property
    def pending(self) -> int: ...

    @property
    def max_pending(self) -> int: ...

    def waiting(self) -> list[Job]: ...


class Resident(Protocol):
    """The part of an engine that its page reads."""

    @property
    def resident_bytes(self) -> int: ...

    @property
    def compile_failures(self) -> int: ...

    def resident(self) -> Mapping[Architecture, int]: ...

    def runs(self) -> Mapping[Architecture, float]: ...


def queue(pipeline: Waiting, clock: Callable[[], float] = time.monotonic) -> Page:
    """Who waits, whose turn is next first. `clock` is the one that jobs are timed by, in s."""

    def show(_: Asked) -> object:
        jobs, now_ms = pipeline.waiting(), clock() * 1000
        return {
            "pending": pipeline.pending,
            "max_pending": pipeline.max_pending,
            "waiting": len(jobs),
            "next": [_job(job, now_ms) for job in jobs[:MOST_JOBS]],
        }

    return show


def _job(job: Job, now_ms: float) -> dict[str, object]:
    call, deadline_ms = job.call, job.deadline_ms
    return {
        "request_id": call.request_id if call else None,
        "message_id": call.message_id[:128] if call else None,
        "method": call.method if call else None,
        "device_class": job.device_class,
        "images": job.rows,
        "waited_ms": round(now_ms - job.arrived_ms, 3),
        "deadline_in_ms": None if deadline_ms is None else round(deadline_ms - now_ms, 3),
        "best": job.ladder.best.subnet,
        "cheapest": job.ladder.cheapest.subnet,
    }


def tables(infos: Callable[[], tuple[DeviceClassInfo, ...]], follower: Followed) -> Page:
    """The latency tables that are served by, and how their store is."""

    def show(_: Asked) -> object:
        return {
            "tables": [
                {
                    "device_class": info.name, "version": info.version, "kind": info.kind,
                    "source": info.source, "created": info.created.isoformat(),
                    "default_budget_ms": info.default_budget_ms, "subnets": info.subnets,
                    "frontier": info.frontier, "aliases": list(info.aliases),
                }
                for info in infos()
            ],
            "store": {
                "up": follower.up,
                "staleness_s": round(follower.staleness_s, 3),
                "refused": {n[:63]: error.reason for n, error in follower.refused.items()},
                "lost": sorted(follower.lost),
            },
        }  # fmt: skip

    return show


def engine(resident: Resident, worker_failures: Callable[[], int]) -> Page:
    """What is compiled and how much of it ran lately."""

    def show(_: Asked) -> object:
        whole, runs = resident.resident(), resident.runs()
        return {
            "resident_bytes": resident.resident_bytes,
            "whole": [{"subnet": arch.id, "bytes": size} for arch, size in whole.items()],
            "runs": {arch.id: round(count, 2) for arch, count in runs.items()},
            "compile_failures": resident.compile_failures,
            "worker_failures": worker_failures(),
        }

    return show


def log_level(asked: Asked) -> object:
    """From which level on lines are written; what is sent is the one from now on. Raises
    `ValueError`."""
    if asked.sent is not None:
        if asked.sent not in logs.LEVELS:
            raise ValueError(f"level: expected {', '.join(logs.LEVELS)}, got {asked.sent!r:.40}")
        logs.change_level(asked.sent)
    return logs.current_level()
