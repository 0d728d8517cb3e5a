"""What a run takes from the wall, measured or estimated by CodeCarbon (the extra `energy`).

Knows nothing of recipes. Makes no network call and writes no file; without the extra it says
that nothing was measured. On a CPU whose counters cannot be read (RAPL), CodeCarbon estimates
power from the load and the processor's rated power, and memory always from its size.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from codecarbon import OfflineEmissionsTracker
    from codecarbon.output_methods.emissions_data import EmissionsData

NOT_INSTALLED = "not measured: the extra 'energy' is not installed"
NOT_STARTED = "not measured: CodeCarbon did not start"


@dataclass(frozen=True, slots=True)
class Energy:
    """Electricity in kWh and the CO2 equivalent in kg, or None and in `source` why not."""

    kwh: float | None
    co2_kg: float | None
    source: str


class EnergyMeter:
    """Counts what this machine takes, all of its processes together, while the context is open.

    `country` is the grid's, a three-letter ISO 3166-1 code; None means the world's average.
    Counters of CPU and GPU are read where there are any. Raises `ValueError` for a country that
    is not known.
    """

    def __init__(self, country: str | None = None) -> None:
        if country is not None and not re.fullmatch("[A-Z]{3}", country):
            raise ValueError(f"country {country!r}: expected three capital letters, such as 'DEU'")
        self._country = country
        self._total: EmissionsData | None = None
        self._last = Energy(None, None, NOT_STARTED)
        try:
            self._tracker: OfflineEmissionsTracker | None = _tracker(country, self._take)
        except ModuleNotFoundError:
            self._tracker = None

    def __enter__(self) -> Self:
        if self._tracker is not None:
            self._tracker.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._tracker is not None:
            self._tracker.stop()

    def read(self) -> Energy:
        """What was taken since the context was entered, up to now or to its end. About 1 ms."""
        if self._tracker is None:
            return Energy(None, None, NOT_INSTALLED)
        self._tracker.flush()
        if self._total is None:
            return Energy(None, None, NOT_STARTED)
        source = _source(self._total, self._country)
        return Energy(self._total.energy_consumed, self._total.emissions, source)

    def since_last(self) -> Energy:
        """What was taken since this was last called, or since the context was entered."""
        last, self._last = self._last, self.read()
        if self._last.kwh is None or self._last.co2_kg is None:
            return self._last
        kwh = self._last.kwh - (last.kwh or 0.0)
        return Energy(kwh, self._last.co2_kg - (last.co2_kg or 0.0), self._last.source)

    def _take(self, total: EmissionsData) -> None:
        self._total = total


def _tracker(country: str | None, take: Callable[[EmissionsData], None]) -> OfflineEmissionsTracker:
    """A tracker that hands its figures to `take`, and to nobody else."""
    from codecarbon import OfflineEmissionsTracker
    from codecarbon.input import DataSource
    from codecarbon.output_methods.base_output import BaseOutput

    logging.getLogger("codecarbon").setLevel(logging.CRITICAL)  # before it greets
    known = DataSource().get_global_energy_mix_data()  # type: ignore[no-untyped-call]
    if country is not None and country not in known:
        raise ValueError(f"country {country!r}: CodeCarbon has no figures for its electricity")

    class Output(BaseOutput):  # CodeCarbon's way to hand out figures
        def out(self, total: EmissionsData, _delta: EmissionsData) -> None:
            take(total)

    return OfflineEmissionsTracker(
        country_iso_code=country,
        output_methods=[],
        output_handlers=[Output()],
        api_call_interval=-1,
        # CodeCarbon's own settings files and variables must not open a connection.
        emissions_endpoint=None,
        electricitymaps_api_token="",
        allow_multiple_runs=True,
        log_level="critical",
    )


def _source(total: EmissionsData, country: str | None) -> str:
    from codecarbon.core.cpu import is_rapl_available

    cpu = "CPU by its counters (RAPL)" if is_rapl_available() else "CPU by its load (no RAPL)"
    gpu = f"{total.gpu_count} GPU by the driver, " if total.gpu_count else ""
    grid = f"grid of {country}" if country else "world's average grid"
    return f"CodeCarbon {total.codecarbon_version}: {cpu}, {gpu}memory by its size; {grid}"
