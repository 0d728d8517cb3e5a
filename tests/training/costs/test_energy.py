"""The energy meter: it adds up, stays off the network and the disk, and admits what it lacks."""

from __future__ import annotations

import builtins
import socket
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from training.costs.energy import NOT_INSTALLED, EnergyMeter


def _busy(seconds: float) -> None:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every connection and name look-up that was tried, none of which comes about."""
    tried: list[Any] = []

    def refuse(*address: Any, **_: Any) -> None:
        tried.append(address)
        raise OSError("no network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    return tried


def test_adds_up_without_network_and_files(
    no_network: list[Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CODECARBON_EMISSIONS_ENDPOINT", "http://127.0.0.1:9/emissions")
    monkeypatch.setenv("CODECARBON_ELECTRICITYMAPS_API_TOKEN", "token")
    monkeypatch.setenv("CODECARBON_OUTPUT_METHODS", "csv,api")
    with EnergyMeter() as meter:
        _busy(0.1)
        early = meter.read()
        _busy(0.1)
        late = meter.read()
    final = meter.read()
    assert early.kwh is not None
    assert late.kwh is not None
    assert final.kwh is not None
    assert final.co2_kg is not None
    assert 0.0 < early.kwh < late.kwh <= final.kwh
    assert final.kwh < 1e-3  # 5 kW for 0.7 s
    assert 0.2 < final.co2_kg / final.kwh < 0.8  # the world's average, kg a kWh
    assert final.source.startswith("CodeCarbon 3")
    assert final.source.endswith("world's average grid")
    assert no_network == []
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr().err == ""


def test_the_parts_since_the_last_reading_make_up_the_whole() -> None:
    with EnergyMeter() as meter:
        parts = []
        for _ in range(3):
            _busy(0.06)
            parts.append(meter.since_last())
        whole = meter.read()
    assert whole.kwh
    assert whole.co2_kg
    assert all(part.kwh and part.co2_kg for part in parts)
    # The rest of the whole was taken between the last part and its own reading.
    assert 0.5 * whole.kwh < sum(part.kwh or 0.0 for part in parts) <= whole.kwh * 1.0001
    assert 0.5 * whole.co2_kg < sum(p.co2_kg or 0.0 for p in parts) <= whole.co2_kg * 1.0001


def test_a_country_has_a_grid_of_its_own() -> None:
    ratios = []
    for country in ("FRA", "POL"):
        with EnergyMeter(country) as meter:
            _busy(0.06)
        energy = meter.read()
        assert energy.kwh
        assert energy.co2_kg
        assert energy.source.endswith(f"grid of {country}")
        ratios.append(energy.co2_kg / energy.kwh)
    assert ratios[0] < 0.2 < ratios[1]


@pytest.mark.parametrize("country", ["de", "Germany", "QQQ"])
def test_an_unknown_country_is_named(country: str) -> None:
    with pytest.raises(ValueError, match=f"country '{country}'"):
        EnergyMeter(country)


def test_nothing_is_made_up_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def missing(name: str, *rest: Any, **options: Any) -> Any:
        if name.startswith("codecarbon"):
            raise ModuleNotFoundError(name)
        return real(name, *rest, **options)

    monkeypatch.delitem(sys.modules, "codecarbon", raising=False)
    monkeypatch.setattr(builtins, "__import__", missing)
    with EnergyMeter("DEU") as meter:
        energy = meter.read()
    assert (energy.kwh, energy.co2_kg, energy.source) == (None, None, NOT_INSTALLED)


def test_reading_is_cheap_enough_for_every_checkpoint() -> None:
    with EnergyMeter() as meter:
        meter.read()
        began = time.process_time()
        for _ in range(20):
            meter.read()
        assert (time.process_time() - began) / 20 < 0.05
