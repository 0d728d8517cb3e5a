from typing import Any

import numpy as np
import pytest

from gateway.calls import Call
from gateway.request import Answer, Selection
from gateway.ui.recent import MOST_FRESH, MOST_ROWS, MOST_SUBNETS, WINDOW_S, Recent


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def recent(clock: Clock) -> Recent:
    return Recent({"alpha": "alpha", "a": "alpha", "beta": "beta"}.get, clock)


def answered(
    device_class: str = "alpha",
    subnet: str = "d2-3@12",
    *,
    compute_ms: float = 8.0,
    batch: int = 1,
    degraded: bool = False,
    accuracy: float = 0.75,
) -> Call:
    chosen = Selection(subnet, accuracy, 4.0, degraded)
    call = Call("Infer", "ipv4:10.1.2.3:4", device_class, identity="edge-7")
    call.answered(Answer(np.zeros((1, 10), np.float32), (0,), chosen, compute_ms, 2.0, batch))
    return call


def test_a_row_has_what_was_chosen_and_nothing_of_the_caller(recent: Recent) -> None:
    recent.observe(answered("a"))
    ((row,), left_out) = recent.after(0)
    assert row == (1, 1000.0, "alpha", "OK", "d2-3@12", 0.75, 4.0, 8.0, 2.0, 1, False)
    assert left_out == 0
    assert "edge-7" not in str(row)
    assert "10.1.2.3" not in str(row)


def test_a_call_that_was_turned_away_has_its_code_alone(recent: Recent) -> None:
    recent.observe(Call("ModelInfer", "peer", "nobody" * 100, code="NOT_FOUND"))
    ((row,), _) = recent.after(0)
    assert (row.device_class, row.code, row.subnet) == (("nobody" * 11)[:63], "NOT_FOUND", "")


def test_calls_that_run_no_subnet_are_none_of_it(recent: Recent) -> None:
    for method in ("SelectSubnet", "FetchSubnet", "ListDeviceClasses", "ReportLatency"):
        recent.observe(Call(method, "peer", "alpha"))
    assert recent.after(0) == ([], 0)
    assert recent.sums() == {}


def test_what_is_told_one_by_one_is_bounded_and_the_rest_counted(recent: Recent) -> None:
    for _ in range(MOST_ROWS + 7):
        recent.observe(answered())
    rows, left_out = recent.after(0)
    assert [row.number for row in rows] == list(
        range(MOST_ROWS + 7 - MOST_FRESH + 1, MOST_ROWS + 8)
    )
    assert left_out == MOST_ROWS + 7 - MOST_FRESH
    assert recent.after(MOST_ROWS + 5)[0][0].number == MOST_ROWS + 6
    assert recent.after(MOST_ROWS + 7) == ([], 0)
    assert recent.sums()["alpha"]["answers"] == MOST_ROWS


def test_sums_by_class_and_subnet(recent: Recent) -> None:
    for milliseconds in range(1, 12):
        recent.observe(answered(compute_ms=float(milliseconds)))
    recent.observe(answered(compute_ms=500.0, batch=8))
    recent.observe(answered(subnet="d4-4@16", degraded=True, accuracy=0.25, batch=8))
    recent.observe(Call("Infer", "peer", "alpha", code="RESOURCE_EXHAUSTED"))
    recent.observe(answered("beta"))
    sums = recent.sums()
    assert sorted(sums) == ["alpha", "beta"]
    alpha: Any = sums["alpha"]
    assert (alpha["answers"], alpha["failed"], alpha["degraded"]) == (13, 1, 1)
    assert alpha["accuracy"] == pytest.approx((12 * 0.75 + 0.25) / 13)
    most, least = alpha["subnets"]
    assert (most["subnet"], most["answers"], most["compute_ms"]) == ("d2-3@12", 12, [2, 6, 10])
    assert (least["subnet"], least["answers"], least["compute_ms"]) == ("d4-4@16", 1, None)


def test_sums_are_of_the_last_minute(recent: Recent, clock: Clock) -> None:
    recent.observe(answered())
    clock.now += WINDOW_S - 1
    recent.observe(answered())
    assert recent.sums()["alpha"]["answers"] == 2
    clock.now += 2
    assert recent.sums()["alpha"]["answers"] == 1
    clock.now += WINDOW_S
    assert recent.sums() == {}
    assert len(recent.after(0)[0]) == 2  # the last rows stay, however old


def test_only_the_subnets_that_answer_most_are_told(recent: Recent) -> None:
    for i in range(MOST_SUBNETS + 3):
        for _ in range(i + 1):
            recent.observe(answered(subnet=f"d{i}@12"))
    alpha: Any = recent.sums()["alpha"]
    subnets = [each["subnet"] for each in alpha["subnets"]]
    assert subnets == [f"d{i}@12" for i in range(MOST_SUBNETS + 2, 2, -1)]
    assert alpha["other_subnets"] == 3
