from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from gateway import logs
from gateway.calls import Call
from gateway.debugging import state
from gateway.debugging.pages import Asked
from gateway.request import ImageInput
from gateway.scheduling.job import Job
from gateway.scheduling.ladder import Ladder
from gateway.select import Candidate
from gateway.stores.table_check import RefusedTableError
from gateway.stores.tables import DeviceClassInfo
from supernet.architecture import Architecture
from tests.gateway.test_logs import undone

NOTHING = Asked({})
LARGE, SMALL = Candidate("large", 16, 0.9, 2.0), Candidate("small", 16, 0.8, 1.0)
BOTH = Ladder((LARGE, SMALL), {"large": LARGE, "small": SMALL})


def job(number: int, call: Call | None, deadline_ms: float | None) -> Job:
    image = ImageInput(b"what the caller sent")
    return Job(image, 2, "alpha", BOTH, 1000.0, deadline_ms, number, 1.0, call=call)


async def test_who_waits_is_told_without_what_they_sent() -> None:
    call = Call("Infer", "peer", "alpha", request_id="r1", message_id="m1", identity="edge-7")
    jobs = [job(1, call, 1500.0), job(2, None, None)]
    pipeline = SimpleNamespace(pending=3, max_pending=9, waiting=lambda: jobs)
    shown = state.queue(pipeline, clock=lambda: 1.25)(NOTHING)
    assert isinstance(shown, dict)
    assert (shown["pending"], shown["max_pending"], shown["waiting"]) == (3, 9, 2)
    assert shown["next"][0] == {
        "request_id": "r1", "message_id": "m1", "method": "Infer", "device_class": "alpha",
        "images": 2, "waited_ms": 250.0, "deadline_in_ms": 250.0, "best": "large",
        "cheapest": "small",
    }  # fmt: skip
    assert (shown["next"][1]["request_id"], shown["next"][1]["deadline_in_ms"]) == (None, None)
    assert "sent" not in json.dumps(shown)


async def test_a_long_queue_is_cut() -> None:
    jobs = [job(n, None, None) for n in range(state.MOST_JOBS + 5)]
    pipeline = SimpleNamespace(pending=2000, max_pending=2000, waiting=lambda: jobs)
    shown = state.queue(pipeline)(NOTHING)
    assert isinstance(shown, dict)
    assert (shown["waiting"], len(shown["next"])) == (len(jobs), state.MOST_JOBS)


def test_tables_and_their_store_are_told() -> None:
    made = datetime(2026, 1, 1, tzinfo=UTC)
    alpha = DeviceClassInfo("alpha", 5.0, True, "here", 3, made, 9, "measured", "me", 4, ("a",))
    refused = {"beta": RefusedTableError("size", "too long")}
    follower = SimpleNamespace(up=True, staleness_s=0.5, refused=refused, lost=frozenset({"c"}))
    shown = state.tables(lambda: (alpha,), follower)(NOTHING)
    assert isinstance(shown, dict)
    (table,) = shown["tables"]
    assert (table["device_class"], table["version"], table["aliases"]) == ("alpha", 3, ["a"])
    assert table["created"] == "2026-01-01T00:00:00+00:00"
    assert shown["store"] == {
        "up": True, "staleness_s": 0.5, "refused": {"beta": "size"}, "lost": ["c"]
    }  # fmt: skip
    json.dumps(shown)


def test_the_engine_says_what_is_compiled() -> None:
    arch = Architecture((2, 3), 12)
    engine = SimpleNamespace(
        resident_bytes=20, compile_failures=1,
        resident=lambda: {arch: 8}, runs=lambda: {arch: 1.234},
    )  # fmt: skip
    assert state.engine(engine, lambda: 2)(NOTHING) == {
        "resident_bytes": 20, "whole": [{"subnet": arch.id, "bytes": 8}], "runs": {arch.id: 1.23},
        "compile_failures": 1, "worker_failures": 2,
    }  # fmt: skip


def test_the_log_level_is_told_and_set(caplog: pytest.LogCaptureFixture) -> None:
    with undone(), caplog.at_level(logging.DEBUG, "gateway"):
        logs.set_level("info")
        assert state.log_level(NOTHING) == "info"
        assert state.log_level(Asked({}, "debug")) == "debug"
        assert logs.current_level() == "debug"
        with pytest.raises(ValueError, match="level: expected debug, info, warning, error, got"):
            state.log_level(Asked({}, "loud"))
        assert logs.current_level() == "debug"
    assert [record.getMessage() for record in caplog.records] == ["log level"]
