"""What is known of each subnet before anyone asks for it: accuracy, MACs, parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


class CatalogEntry(BaseModel):
    """One subnet. `accuracy` is top-1 in [0, 1] on the validation split and is what selection
    uses; `test_accuracy` is for reporting only. `macs` is for one image."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    subnet: str
    accuracy: Fraction
    test_accuracy: Fraction | None = None
    macs: Annotated[int, Field(ge=0)]
    parameters: Annotated[int, Field(ge=0)]


class Catalog(BaseModel):
    """All the subnets an artifact offers, each once.

    `predicted_by` names the predictor that accuracies come from; absent where they were
    measured, so that a prediction is never taken for a measurement.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    entries: tuple[CatalogEntry, ...] = ()
    predicted_by: str | None = None

    @model_validator(mode="after")
    def _unique(self) -> Self:
        if len(self._by_subnet) != len(self.entries):
            raise ValueError("catalog: a subnet is listed twice")
        return self

    @cached_property
    def _by_subnet(self) -> dict[str, CatalogEntry]:
        return {entry.subnet: entry for entry in self.entries}

    def __len__(self) -> int:
        return len(self.entries)

    def __contains__(self, subnet: str) -> bool:
        return subnet in self._by_subnet

    def __getitem__(self, subnet: str) -> CatalogEntry:
        """The entry of a subnet id. Raises `ValueError` where the catalog has none."""
        if subnet not in self._by_subnet:
            raise ValueError(f"subnet {subnet!r}: not in the catalog of {len(self)} subnets")
        return self._by_subnet[subnet]

    def subnets(self) -> Iterator[str]:
        return iter(self._by_subnet)

    def frontier(
        self, cost: Callable[[CatalogEntry], float] = lambda entry: entry.macs
    ) -> tuple[CatalogEntry, ...]:
        """The entries that nothing beats in both `cost` and accuracy, cheapest first."""
        return pareto_frontier(self.entries, cost)


def pareto_frontier(
    entries: Iterable[CatalogEntry], cost: Callable[[CatalogEntry], float]
) -> tuple[CatalogEntry, ...]:
    """Entries with strictly rising accuracy as `cost` rises; ties go to the cheaper."""
    frontier: list[CatalogEntry] = []
    for entry in sorted(entries, key=lambda e: (cost(e), -e.accuracy)):
        if not frontier or entry.accuracy > frontier[-1].accuracy:
            frontier.append(entry)
    return tuple(frontier)
