"""How long each subnet takes on one class of device."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from supernet.validation import first_error

Milliseconds = Annotated[float, Field(gt=0.0, allow_inf_nan=False, strict=True)]
BlockMilliseconds = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
_NO_CONTROLS = r"^[^\x00-\x1f\x7f-\x9f]*$"  # what a terminal would take for a command
TABLES_FOLDER = "tables"
_DEVICE_CLASS = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"
DeviceClass = Annotated[str, Field(pattern=_DEVICE_CLASS)]
Kind = Literal["measured", "imported", "transferred", "learned", "derived"]
"""How a table came about. `transferred`: from another class's and a few measurements; `learned`:
from what clients report; `derived`: worked out in any other way."""


def _in_utc(at: datetime) -> datetime:
    """A time without a zone is taken for UTC, wherever it is read."""
    if not 1970 <= at.year < 9999:  # further out it is no time in some zones
        raise ValueError(f"expected a year from 1970 to 9998, got {at.year}")
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def is_device_class(name: str) -> bool:
    """Whether `name` could name a device class."""
    return re.fullmatch(_DEVICE_CLASS, name) is not None


def check_device_class(name: str) -> None:
    """Raise `ValueError` where `name` cannot name a device class."""
    if not is_device_class(name):
        raise ValueError(
            f"device class {name!r}: expected letters, digits, '.', '_' or '-', at most 63"
        )


class BlockTime(BaseModel):
    """What one block or layer takes: mean and standard deviation in ms over `count` runs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mean: BlockMilliseconds
    std: BlockMilliseconds | None = None
    count: Annotated[int, Field(ge=0)] | None = None


Blocks = dict[Annotated[int, Field(ge=1)], Annotated[dict[str, BlockTime], Field(min_length=1)]]
"""By resolution, and there by the key of a block (see `supernet.block_keys`)."""


class LatencyTable(BaseModel):
    """Exact latencies of one device class for one artifact.

    `latency_ms` maps a subnet id to the median, `p95_ms` and `std_ms` to the 95th percentile and
    the standard deviation where the subnet itself was measured. `kind` is how the numbers came
    about and `source` says it in words, so that a derived table is never taken for a measured
    one; `conditions` holds what they depend on (threads, engine), `created_by` who put the table
    into a store. `blocks` holds what the latencies are sums of, where that is known; the latency
    of a subnet that is not listed follows from it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    device_class: DeviceClass
    artifact_hash: str
    kind: Kind = "derived"
    source: Annotated[str, Field(max_length=1000, pattern=_NO_CONTROLS)]
    measured: bool
    latency_ms: dict[str, Milliseconds] = Field(min_length=1)
    p95_ms: dict[str, Milliseconds] = Field(default_factory=dict)
    std_ms: dict[str, Annotated[BlockMilliseconds, Field(strict=True)]] = Field(
        default_factory=dict
    )
    blocks: Blocks = Field(default_factory=dict)
    default_budget_ms: Milliseconds | None = None
    conditions: dict[str, str] = Field(default_factory=dict)
    created: Annotated[datetime, AfterValidator(_in_utc)] = Field(
        default_factory=lambda: datetime.now(UTC)
    )
    created_by: Annotated[str, Field(min_length=1, max_length=63, pattern=_NO_CONTROLS)] | None = (
        None
    )

    @model_validator(mode="before")
    @classmethod
    def _kind_where_none_is_said(cls, document: Any) -> Any:
        """Who writes a table need not say it: `measured` does, or the first word of `source`."""
        if not isinstance(document, dict) or "kind" in document:
            return document
        words = re.findall(r"\w+", str(document.get("source", ""))[:40])
        said = words[0].lower() if words else ""
        kind = said if said in ("imported", "transferred", "learned") else "derived"
        return document | {"kind": "measured" if document.get("measured") is True else kind}

    def scaled(self, factor: float, device_class: str, default_budget_ms: float) -> LatencyTable:
        """A table for an imagined device that is `factor` times as slow as this one, without
        blocks."""
        return LatencyTable(
            device_class=device_class,
            artifact_hash=self.artifact_hash,
            source=f"not measured: {self.device_class} times {factor:g}",
            measured=False,
            latency_ms={subnet: ms * factor for subnet, ms in self.latency_ms.items()},
            p95_ms={subnet: ms * factor for subnet, ms in self.p95_ms.items()},
            std_ms={subnet: ms * factor for subnet, ms in self.std_ms.items()},
            default_budget_ms=default_budget_ms,
            conditions=self.conditions,
            created=self.created,
        )


def read_table(path: Path) -> LatencyTable:
    """The table in a JSON file. Raises `ValueError` with one line naming the bad field."""
    try:
        return LatencyTable.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise ValueError(f"latency table {path}: {first_error(error)}") from None
    except OSError as error:
        raise ValueError(f"latency table {path}: {error.strerror}") from None


def read_bundled_tables(folder: Path) -> list[LatencyTable]:
    """The tables that travel with the artifact in `folder`, by device class. Needs no torch."""
    return [read_table(path) for path in sorted((folder / TABLES_FOLDER).glob("*.json"))]
