"""Inputs are prepared side by side, unless workers have every core."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from gateway.scheduling.preparers import Preparers


@pytest.fixture
def preparers() -> Iterator[Preparers]:
    opened = Preparers(2)
    yield opened
    opened.close()


def test_with_a_core_to_spare_inputs_are_prepared_side_by_side(preparers: Preparers) -> None:
    together = threading.Barrier(2)

    def prepare(number: int) -> int:
        together.wait(10)  # raises where nobody else comes
        return number * 2

    with preparers.at_work():
        assert list(preparers.map(prepare, [1, 2, 3, 4])) == [2, 4, 6, 8]


def test_with_every_core_taken_each_worker_prepares_its_own(preparers: Preparers) -> None:
    with preparers.at_work(), preparers.at_work():
        own = [*preparers.map(lambda _: threading.get_ident(), range(3))]
    assert set(own) == {threading.get_ident()}


def test_a_worker_that_fails_gives_its_core_back(preparers: Preparers) -> None:
    with pytest.raises(ValueError, match="torn"), preparers.at_work(), preparers.at_work():
        raise ValueError("torn")
    (thread,) = preparers.map(lambda _: threading.get_ident(), range(1))
    assert thread != threading.get_ident()
