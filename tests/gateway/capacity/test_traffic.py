"""Arrivals: as many as asked, at the rate asked, and each at one replica."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.capacity.traffic import Poisson, Recorded

instants = st.lists(st.floats(0, 1e6), min_size=2, unique=True)


@given(instants, st.floats(0.1, 1e5), st.integers(1, 5))
def test_every_recorded_request_comes_to_one_replica(
    seconds: list[float], rate: float, replicas: int
) -> None:
    traffic = Recorded(np.sort(np.array(seconds)) - min(seconds))
    shares = list(traffic.shares(rate, replicas))
    assert len(shares) == replicas
    everywhere = np.sort(np.concatenate(shares))
    assert everywhere == pytest.approx(traffic.at(rate))
    assert len(seconds) / everywhere[-1] * 1000 == pytest.approx(rate)


def test_random_requests_come_at_the_rate_of_one_replica() -> None:
    (times,) = Poisson(50_000).shares(400.0, 4)
    assert 1000 * len(times) / times[-1] == pytest.approx(100.0, rel=0.02)
    gaps = np.diff(times)
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.02), "independent of one another"


def test_traffic_goes_on_for_as_long_as_is_asked() -> None:
    (times,) = Poisson(100).shares(400.0, 4, least_ms=50_000.0)
    assert len(times) == 100 * 50
    assert Poisson(100).fastest(1e9) == math.inf
    traffic = Recorded(np.linspace(0.0, 1.0, 200))
    fastest = traffic.fastest(50_000.0)
    assert traffic.at(fastest)[-1] == pytest.approx(50_000.0)


@pytest.mark.parametrize("heading", ["", "seconds,tokens\n"])
def test_a_file_of_arrivals(tmp_path: Path, heading: str) -> None:
    file = tmp_path / "arrivals.csv"
    file.write_text(heading + "3.5,8\n1.5,9\n\n2.5,7\n", "utf-8")
    assert Recorded.read(file).arrivals_s.tolist() == [0.0, 1.0, 2.0]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "at least two arrivals"),
        ("1.0\n", "at least two arrivals"),
        ("1.0\n1.0\n", "at least two arrivals"),
        ("1.0\nsoon\n", "'soon': expected seconds"),
        ("1.0\nnan\n", "'nan': expected seconds"),
        ("\x89PNG\n\x00\xff\n", "expected seconds"),
    ],
)
def test_a_file_that_is_something_else(tmp_path: Path, content: str, says: str) -> None:
    file = tmp_path / "arrivals.csv"
    file.write_text(content, "latin-1")
    with pytest.raises(ValueError, match=says) as raised:
        Recorded.read(file)
    assert "arrivals.csv" in str(raised.value)
