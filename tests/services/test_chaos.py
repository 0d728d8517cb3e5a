"""What `make chaos` makes of what happened, without breaking anything."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks.chaos import fuzz
from benchmarks.chaos.kill import Kill, _lost
from benchmarks.chaos.load import Failure, Load
from benchmarks.chaos.outcome import Outcome
from tests.services.fuzzing import Fuzzed
from tests.services.malformed import methods

ROOT = Path(__file__).parents[2]
KILLED, OTHER = "127.0.0.1:1", "127.0.0.1:2"


@pytest.mark.parametrize(
    ("gateway", "began", "ended", "explained", "by_time"),
    [
        (KILLED, 9.0, 10.1, True, True),
        (OTHER, 9.0, 10.1, False, True),
        ("", 9.0, 10.1, False, True),
        (KILLED, 10.3, 10.4, False, False),
        (KILLED, 9.0, 9.5, False, False),
    ],
)
def test_a_kill_explains_what_was_lost_there_and_then(
    gateway: str, began: float, ended: float, explained: bool, by_time: bool
) -> None:
    load = Load(failures=[Failure("UNAVAILABLE", "lost", began, ended, gateway)])
    kills = [Kill(KILLED, 10.0, 10.2)]
    named = _lost("a kill", load, kills, are_named=True)
    assert named.holds is explained
    assert f"{1 - explained} of them not in flight on the killed gateway" in named.happened
    timed = _lost("a kill", load, kills, are_named=False)
    assert timed.holds is None
    assert f"{1 - by_time} of them not in flight then, by time alone" in timed.happened


class Leaking:
    """A gateway that keeps what connections of garbage hold."""

    memory = 0

    def until_warm(self) -> None:
        pass

    def resident_bytes(self) -> int:
        return self.memory


@pytest.mark.parametrize(("mib", "holds"), [(1, True), (1000, False)])
def test_what_garbage_leaves_behind_is_counted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, mib: int, holds: bool
) -> None:
    gateway = Leaking()

    @contextmanager
    def running(*_: object, **__: object) -> Iterator[Leaking]:
        yield gateway

    def garbage(_: object) -> None:
        gateway.memory += mib * fuzz.MIB

    monkeypatch.setattr(fuzz, "running", running)
    monkeypatch.setattr(fuzz, "_garbage", garbage)
    monkeypatch.setattr(fuzz, "_fill", lambda _: None)
    monkeypatch.setattr(fuzz, "_fuzz", lambda *_: Fuzzed(messages=2, read=1))
    monkeypatch.setattr(fuzz, "_outcome", lambda _, tried: Outcome(tried, "", True))
    monkeypatch.setattr(fuzz, "descriptors", lambda _: 5)
    monkeypatch.setattr(fuzz, "until_closed", lambda *_: 0)
    monkeypatch.setattr(fuzz, "faults", lambda _: [])
    found = {outcome.tried: outcome.holds for outcome in fuzz.run(tmp_path)}
    assert found["what is left of both"] is holds
    assert found[f"2 messages to {len(methods())} methods"] is False, "one was not read"


def test_what_cannot_be_tried_is_no_success() -> None:
    command = [sys.executable, "-m", "benchmarks.chaos", "--only", "clock_jump"]
    nowhere = os.environ | {"LIBFAKETIME": "/nowhere/libfaketime.so"}
    done = subprocess.run(command, cwd=ROOT, env=nowhere, capture_output=True, text=True)
    assert done.returncode == 1
    assert "libfaketime is not installed" in done.stdout
    assert done.stdout.endswith("not all tried\n")
