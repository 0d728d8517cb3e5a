"""Counts that fade."""

import pytest

from gateway.engines.usage import Usage
from supernet.architecture import Architecture

A, B = Architecture((2, 2), 12), Architecture((4, 4), 16)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_half_is_left_after_the_half_life() -> None:
    clock = Clock()
    usage = Usage(half_life_s=10.0, clock=clock)
    usage.add(A)
    usage.add(A)
    clock.now = 10.0
    usage.add(B)
    assert usage.counts() == {A: pytest.approx(1.0), B: pytest.approx(1.0)}


def test_the_most_used_comes_first_and_the_forgotten_not_at_all() -> None:
    clock = Clock()
    usage = Usage(half_life_s=1.0, clock=clock)
    usage.add(A)
    usage.add(B)
    usage.add(B)
    assert list(usage.counts()) == [B, A]
    clock.now = 100.0
    assert usage.counts() == {}
