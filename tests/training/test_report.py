"""The log of a run and its curves: no step twice and none lost, whatever interrupted the run."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import (  # type: ignore[import-untyped]
    EventAccumulator,
)

from training.checkpoint import Progress
from training.recipe import Phase
from training.report import RunReport
from training.trainer import StepReport

STEPS = (250, 40)
PHASES = tuple(
    Phase(name=name, epochs=1, learning_rate=0.1, subnets=("largest",)) for name in ("a", "b")
)


def _report(phase: int, step: int) -> StepReport:
    """A step of 8 images in half a second, a tenth of which goes into waiting."""
    progress = Progress(
        phase=phase,
        step=step,
        images=8 * step,
        seconds=0.5 * step,
        waiting=0.05 * step,
        loss=2.0,
        accuracy=0.5,
    )
    return StepReport(PHASES[phase], progress, STEPS[phase], 0.1 / step)


def _run(folder: Path, steps: Iterable[tuple[int, int]], *, curves: bool = False) -> None:
    with RunReport(folder / "log.jsonl", folder / "curves" if curves else None) as report:
        for phase, step in steps:
            report(_report(phase, step))


def _all_steps() -> list[tuple[int, int]]:
    return [(phase, step) for phase, steps in enumerate(STEPS) for step in range(1, steps + 1)]


def _lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_a_line_says_how_far_how_well_and_how_fast(tmp_path: Path) -> None:
    _run(tmp_path, _all_steps())
    lines = _lines(tmp_path)
    places = [(line["phase"], line["step"]) for line in lines]
    assert places[-1] == ("b", 40)
    assert len(set(places)) == len(places)
    assert ("a", 250) in places
    assert all(len([p for p in places if p[0] == name]) >= 20 for name in "ab")
    line = next(line for line in lines if (line["phase"], line["step"]) == ("a", 240))
    assert line["learning_rate"] == float(f"{0.1 / 240:.5g}")
    assert line["images_per_second"] == 16.0
    assert line["waiting"] == 0.1
    assert line["seconds"] == 120.0
    assert line["seconds_left"] == 5
    assert line["loss"] == 2.0
    assert line["batch_accuracy"] == 0.5


@pytest.mark.parametrize("saved", [0, 7, 130, 249, 250, 253, 289])
@pytest.mark.parametrize("killed_after", [1, 60])
def test_a_run_that_goes_on_leaves_the_log_of_one_that_was_not_cut(
    tmp_path: Path, saved: int, killed_after: int
) -> None:
    """`saved` steps are in the checkpoint; the run was killed up to 60 steps later."""
    steps = _all_steps()
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    whole.mkdir()
    cut.mkdir()
    _run(whole, steps)
    _run(cut, steps[: saved + killed_after])
    _run(cut, steps[saved:])

    def told(folder: Path) -> list[dict[str, Any]]:
        return [{k: v for k, v in line.items() if k != "seconds_left"} for line in _lines(folder)]

    assert told(cut) == told(whole)


def test_a_line_that_was_cut_off_with_the_run_is_dropped(tmp_path: Path) -> None:
    steps = _all_steps()
    _run(tmp_path, steps[:60])
    whole = (tmp_path / "log.jsonl").read_text()
    (tmp_path / "log.jsonl").write_text(whole + '{"phase": "a", "st')
    _run(tmp_path, steps[60:])
    assert [line["step"] for line in _lines(tmp_path) if line["phase"] == "a"][-1] == 250
    assert (tmp_path / "log.jsonl").read_text().startswith(whole)


def test_a_run_that_starts_again_leaves_no_old_line(tmp_path: Path) -> None:
    _run(tmp_path, _all_steps())
    _run(tmp_path, _all_steps()[:24])
    assert [line["step"] for line in _lines(tmp_path)] == [12, 24]


def _scalars(folder: Path, tag: str) -> list[tuple[int, float]]:
    accumulator = EventAccumulator(str(folder))
    accumulator.Reload()
    return [(event.step, event.value) for event in accumulator.Scalars(tag)]


def test_the_curves_can_be_read_back(tmp_path: Path) -> None:
    _run(tmp_path, _all_steps(), curves=True)
    folder = tmp_path / "curves"
    steps = [line["step"] for line in _lines(tmp_path) if line["phase"] == "b"]
    rates = _scalars(folder, "b/learning_rate")
    assert [step for step, _ in rates] == [250 + step for step in steps]
    assert [rate for _, rate in rates] == pytest.approx([0.1 / step for step in steps], rel=1e-4)
    assert {value for _, value in _scalars(folder, "a/loss")} == {2.0}
    assert {value for _, value in _scalars(folder, "a/seconds_a_step")} == {0.5}
    assert _scalars(folder, "b/waiting")[0][1] == pytest.approx(0.1)
    assert _scalars(folder, "b/batch_accuracy")[-1] == (290, 0.5)


def test_the_curves_of_a_run_that_goes_on_do_not_run_back(tmp_path: Path) -> None:
    steps = _all_steps()
    _run(tmp_path, steps[:270], curves=True)
    _run(tmp_path, steps[255:], curves=True)
    places = [step for step, _ in _scalars(tmp_path / "curves", "b/loss")]
    assert places == sorted(set(places))
    assert places[-1] == 290
    assert len(_scalars(tmp_path / "curves", "a/loss")) == 21


def test_without_the_package_it_says_so_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ValueError, match="--tensorboard: the extra 'tensorboard' is not installed"):
        RunReport(tmp_path / "log.jsonl", tmp_path / "curves")
    RunReport(tmp_path / "log.jsonl")
