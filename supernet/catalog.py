"""What is known of each subnet before anyone asks for it: accuracy, MACs, parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


class Int8Accuracy(BaseModel):
    """What INT8 makes of a subnet in one export format: top-1 in [0, 1] of the file, run in its
    runtime, and of the subnet in float32, on the same `images`. These are of the validation
    split, or of the sample that ships."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: str
    accuracy: Fraction
    float_accuracy: Fraction
    images: Annotated[int, Field(ge=1)]
    split: Literal["validation", "sample"] = "validation"

    @property
    def drop(self) -> float:
        """What is lost; negative where INT8 is better by chance."""
        return round(self.float_accuracy - self.accuracy, 5)


class CatalogEntry(BaseModel):
    """One subnet. `accuracy` is top-1 in [0, 1] on the validation split and is what selection
    uses; `test_accuracy` is for reporting only. `macs` is for one image. `int8` has what
    quantised exports were measured to reach, one a format."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    subnet: str
    accuracy: Fraction
    test_accuracy: Fraction | None = None
    macs: Annotated[int, Field(ge=0)]
    parameters: Annotated[int, Field(ge=0)]
    int8: tuple[Int8Accuracy, ...] | None = None

    def with_int8(self, measured: Int8Accuracy) -> CatalogEntry:
        """The entry with one format's figures in place of older ones."""
        others = tuple(each for each in self.int8 or () if each.format != measured.format)
        return self.model_copy(update={"int8": (*others, measured)})


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

    def replaced(self, changed: CatalogEntry) -> Catalog:
        """The catalog with another entry for a subnet that it lists."""
        entries = (changed if e.subnet == changed.subnet else e for e in self.entries)
        return Catalog(entries=tuple(entries), predicted_by=self.predicted_by)

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
