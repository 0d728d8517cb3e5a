from __future__ import annotations

import pytest

from gateway.engine_times import FORGOTTEN_AFTER_S, WEIGHT, EngineTimes


def test_a_running_mean_follows_what_is_measured() -> None:
    times = EngineTimes(clock=lambda: 0.0)
    times.record("a", 1, 10.0)
    times.record("a", 1, 20.0)
    assert times.expected_ms(1) == {"a": pytest.approx(10 + WEIGHT * 10)}
    assert times.typical_ms == pytest.approx(12.0)


def test_batches_of_another_size_have_times_of_their_own() -> None:
    times = EngineTimes(clock=lambda: 0.0)
    times.record("a", 1, 1.0)
    times.record("a", 32, 30.0)
    assert (times.expected_ms(1), times.expected_ms(33)) == ({"a": 1.0}, {"a": 30.0})
    assert times.expected_ms(4) == {}


def test_a_slow_spell_is_forgotten() -> None:
    now = 0.0
    times = EngineTimes(clock=lambda: now)
    times.record("a", 1, 1000.0)
    now = FORGOTTEN_AFTER_S + 1
    assert times.expected_ms(1) == {}
    assert times.typical_ms == 0.0
    times.record("a", 1, 2.0)
    assert times.expected_ms(1) == {"a": 2.0}
