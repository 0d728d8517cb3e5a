"""Batches in the thread that calls: what fails alone, what is late, and what the others wait for.

The engine is a real one, which notes what it ran and fails where it is told to.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gateway import images
from gateway.engines.backend import ModelInputs
from gateway.engines.engine import Lane, Ran
from gateway.engines.net import Net
from gateway.engines.opening import make_engine
from gateway.engines.torch_backend import TorchBackend
from gateway.errors import DeadlineExceeded, GatewayError, InvalidRequest
from gateway.request import ImageInput, Logits, ModelInput
from gateway.workers.batch import Batch, Outcome
from gateway.workers.executor import Executor
from gateway.workers.preparers import Preparers
from supernet.architecture import Architecture
from supernet.extract import extract
from supernet.manifest import Manifest
from supernet.model import Supernet
from tests.gateway.workers.batches import SUBNET, batch, image, large_image, raw, tensor

Expected = Callable[..., Logits]
BROKEN = ImageInput(b"no image")


class NotedLane:
    """The real one. `ran` has the rows of each run that it did not fail on."""

    def __init__(self, lane: Lane) -> None:
        self._lane = lane
        self.ran: list[int] = []
        self.fails_on: Callable[[ModelInputs], bool] = lambda _: False

    def run(self, arch: Architecture, x: ModelInputs) -> Ran:
        if self.fails_on(x):
            raise RuntimeError("the runtime failed")
        self.ran.append(len(x))
        return self._lane.run(arch, x.copy())  # torch warns of what it could not write to


@pytest.fixture(scope="module")
def torch_lane(artifact_folder: Path) -> Lane:
    return make_engine(Net(artifact_folder), TorchBackend(), max_whole_bytes=10**6).lane()


@pytest.fixture
def lane(torch_lane: Lane) -> NotedLane:
    return NotedLane(torch_lane)


@pytest.fixture
def preparers() -> Iterator[Preparers]:
    opened = Preparers(2)
    yield opened
    opened.close()


@pytest.fixture
def executor(lane: NotedLane, manifest: Manifest, preparers: Preparers) -> Executor:
    return Executor(lane, manifest, preparers)


@pytest.fixture
def expected(folded_supernet: Supernet, manifest: Manifest) -> Expected:
    """Logits of an input by itself, from the net itself."""

    def logits(given: ModelInput, subnet: str = SUBNET) -> Logits:
        arch, space = Architecture.parse(subnet), manifest.design_space
        x = images.prepare(given, arch.resolution, space, manifest.preprocessing)
        return extract(folded_supernet, arch)(torch.tensor(x)).numpy()  # type: ignore[no-any-return]

    return logits


def places(outcome: Outcome) -> list[tuple[int, ...]]:
    return [run.places for run in outcome.runs]


def kinds(outcome: Outcome) -> dict[int, type[GatewayError]]:
    return {place: type(error) for place, error in outcome.errors.items()}


def test_images_and_tensors_run_together(
    executor: Executor, lane: NotedLane, expected: Expected
) -> None:
    given = image(1), tensor(2, rows=3), image(3, side=40)
    outcome = executor.run(batch(*given))
    (run,) = outcome.runs
    assert (run.places, run.rows, lane.ran) == ((0, 1, 2), (1, 3, 1), [5])
    logits = np.concatenate([expected(each) for each in given])
    np.testing.assert_allclose(run.logits, logits, rtol=1e-4, atol=1e-4)
    assert run.classes == tuple(logits.argmax(axis=1))
    assert run.finite == (True,) * 5
    assert run.compute_ms > 0
    assert (outcome.errors, outcome.postponed, outcome.failed_together) == ({}, (), False)


def test_all_run_at_the_resolution_of_the_subnet(executor: Executor, expected: Expected) -> None:
    given = tensor(1), image(2)
    (run,) = executor.run(batch(*given, subnet="d2-2@12")).runs
    logits = np.concatenate([expected(each, "d2-2@12") for each in given])
    np.testing.assert_allclose(run.logits, logits, rtol=1e-4, atol=1e-4)


def test_a_broken_image_fails_alone(
    executor: Executor, lane: NotedLane, expected: Expected
) -> None:
    outcome = executor.run(batch(image(1), BROKEN, image(2)))
    assert (places(outcome), lane.ran) == ([(0, 2)], [2])
    assert kinds(outcome) == {1: InvalidRequest}
    assert outcome.errors[1].safe_message.startswith("image: expected one whole image")
    logits = np.concatenate([expected(image(1)), expected(image(2))])
    np.testing.assert_allclose(outcome.runs[0].logits, logits, rtol=1e-4, atol=1e-4)
    assert not outcome.failed_together


def test_whatever_goes_wrong_with_an_input_fails_it_alone(
    executor: Executor, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    poison, at = tensor(1), images.at

    def fails(given: ModelInput, *rest: Any) -> Any:
        if given is poison:
            raise MemoryError
        return at(given, *rest)

    monkeypatch.setattr(images, "at", fails)
    outcome = executor.run(batch(tensor(), poison, tensor(2)))
    assert (places(outcome), kinds(outcome)) == ([(0, 2)], {1: GatewayError})
    assert "MemoryError" in caplog.text


def test_where_nothing_can_be_prepared_nothing_runs(executor: Executor, lane: NotedLane) -> None:
    outcome = executor.run(batch(BROKEN, BROKEN))
    assert (outcome.runs, lane.ran) == ((), [])
    assert kinds(outcome) == {0: InvalidRequest, 1: InvalidRequest}


def test_where_the_engine_fails_on_a_batch_each_is_tried_alone(
    executor: Executor,
    lane: NotedLane,
    expected: Expected,
    caplog: pytest.LogCaptureFixture,
) -> None:
    poison = raw(np.full((1, 1, 16, 16), 9.0, np.float32))
    lane.fails_on = lambda x: bool((x == 9).all(axis=(1, 2, 3)).any())
    outcome = executor.run(batch(image(1), poison, BROKEN, tensor(2, rows=2)))
    assert (places(outcome), lane.ran) == ([(0,), (3,)], [1, 2])
    assert kinds(outcome) == {1: GatewayError, 2: InvalidRequest}
    assert outcome.errors[1].safe_message == "internal error"
    for run, given in zip(outcome.runs, (image(1), tensor(2, rows=2)), strict=True):
        np.testing.assert_allclose(run.logits, expected(given), rtol=1e-4, atol=1e-4)
    assert outcome.failed_together
    assert "a batch of 3 failed, now one by one: the runtime failed" in caplog.text


def test_what_fails_only_together_is_answered(executor: Executor, lane: NotedLane) -> None:
    lane.fails_on = lambda x: len(x) > 1
    outcome = executor.run(batch(image(1), image(2)))
    assert (places(outcome), outcome.errors) == ([(0,), (1,)], {})
    assert outcome.failed_together


def test_one_that_fails_by_itself_is_no_failure_of_a_batch(
    executor: Executor, lane: NotedLane
) -> None:
    lane.fails_on = lambda _: True
    outcome = executor.run(batch(image()))
    assert (outcome.runs, kinds(outcome)) == ((), {0: GatewayError})
    assert not outcome.failed_together


def test_those_who_are_late_are_told_so_and_not_run(
    lane: NotedLane, manifest: Manifest, preparers: Preparers
) -> None:
    executor = Executor(lane, manifest, preparers, clock=lambda: 5.0)
    given = Batch(SUBNET, (tensor(1), tensor(2), BROKEN), (5000.0, 5000.1, 4000.0))
    outcome = executor.run(given)
    assert (places(outcome), lane.ran) == ([(1,)], [1])
    assert kinds(outcome) == {0: DeadlineExceeded, 2: DeadlineExceeded}


def test_one_who_is_late_once_prepared_is_not_run(
    lane: NotedLane, manifest: Manifest, preparers: Preparers
) -> None:
    now = iter((1.0, 2.0))  # before and after
    executor = Executor(lane, manifest, preparers, clock=lambda: next(now))
    outcome = executor.run(Batch(SUBNET, (image(),), (1500.0,)))
    assert (outcome.runs, lane.ran) == ((), [])
    assert kinds(outcome) == {0: DeadlineExceeded}


def test_others_do_not_wait_for_large_images(executor: Executor, lane: NotedLane) -> None:
    outcome = executor.run(batch(large_image(), image(), large_image(), tensor()))
    assert outcome.postponed == (0, 2)
    assert (places(outcome), lane.ran, outcome.errors) == ([(1, 3)], [2], {})


@pytest.mark.parametrize("count", [1, 2])
def test_large_images_run_where_nobody_waits_for_them(executor: Executor, count: int) -> None:
    outcome = executor.run(batch(*[large_image()] * count))
    assert outcome.postponed == ()
    assert places(outcome) == [tuple(range(count))]


def test_one_who_waits_with_a_broken_image_does_not_wait_for_a_large_one(
    executor: Executor,
) -> None:
    outcome = executor.run(batch(large_image(), BROKEN))
    assert (outcome.runs, outcome.postponed) == ((), (0,))
    assert kinds(outcome) == {1: InvalidRequest}


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused_by_the_first_of_them(
    executor: Executor, value: float
) -> None:
    x = np.zeros((2, 1, 16, 16), np.float32)
    x[1, 0, 0, 3:5] = value, np.nan
    outcome = executor.run(batch(tensor(), raw(x)))
    assert places(outcome) == [(0,)]
    assert outcome.errors[1].safe_message == (
        f"tensor.raw: expected finite values (value 259), got {value}"
    )


def test_whoever_sends_any_values_is_told_which_rows_came_out_finite(executor: Executor) -> None:
    x = np.zeros((3, 1, 16, 16), np.float32)
    x[1, 0, 2, 2] = np.nan
    outcome = executor.run(batch(raw(x, any_values=True)))
    assert outcome.errors == {}
    assert outcome.runs[0].finite == (True, False, True)
    assert np.isnan(outcome.runs[0].logits[1]).any()


def test_logits_that_overflow_are_not_finite(executor: Executor) -> None:
    outcome = executor.run(batch(raw(np.full((1, 1, 16, 16), 3e38, np.float32)), tensor()))
    assert outcome.runs[0].finite == (False, True)


class Threads:
    """A clock that notes who looks at it: whoever prepares an input does, before and after. Where
    `together` is given, they wait there for one another."""

    def __init__(self, together: threading.Barrier | None = None) -> None:
        self.seen: set[int] = set()
        self._together = together

    def __call__(self) -> float:
        self.seen.add(threading.get_ident())
        if self._together is not None:
            self._together.wait(10)  # raises where nobody else comes
        return 0.0


def test_side_by_side_inputs_are_prepared_by_threads_at_once(
    lane: NotedLane, manifest: Manifest, preparers: Preparers, expected: Expected
) -> None:
    clock, given = Threads(threading.Barrier(2)), (image(1), image(2), image(3), tensor(4))
    executor = Executor(lane, manifest, preparers, clock)
    outcome = executor.run(batch(*given, side_by_side=True))
    assert (len(clock.seen), threading.get_ident() in clock.seen) == (2, False)
    assert (places(outcome), outcome.errors) == ([(0, 1, 2, 3)], {})
    logits = np.concatenate([expected(each) for each in given])
    np.testing.assert_allclose(outcome.runs[0].logits, logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "given",
    [
        batch(image(1), image(2)),
        batch(image(1), tensor(2), side_by_side=True),
        batch(tensor(1), tensor(2), side_by_side=True),
    ],
    ids=["not side by side", "one to decode", "nothing to decode"],
)
def test_otherwise_and_where_it_is_little_the_caller_prepares_them(
    lane: NotedLane, manifest: Manifest, preparers: Preparers, given: Batch
) -> None:
    clock = Threads()
    Executor(lane, manifest, preparers, clock).run(given)
    assert clock.seen == {threading.get_ident()}
