"""What a caller asks for and what is answered, as values. Knows no wire format.

>>> Constraints("phone", latency_budget_ms=5.0).latency_budget_ms
5.0
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from gateway.errors import InvalidRequest

if TYPE_CHECKING:  # a search reads this module too, and starts the faster without numpy
    import numpy as np
    from numpy.typing import NDArray

DEFAULT_MAX_BATCH = 32

Logits: TypeAlias = "NDArray[np.float32]"


@dataclass(frozen=True, slots=True)
class Constraints:
    """A device class, and how fast a subnet is on it, how accurate, or neither.

    Raises `InvalidRequest` naming the field where a value makes no sense.
    """

    device_class: str
    latency_budget_ms: float | None = None
    min_accuracy: float | None = None

    def __post_init__(self) -> None:
        if not self.device_class:
            raise InvalidRequest("device_class", self.device_class, "the name of a device class")
        budget, accuracy = self.latency_budget_ms, self.min_accuracy
        if budget is not None and not (_is_number(budget) and 0 < budget < math.inf):
            raise InvalidRequest(
                "latency_budget_ms", budget, "a positive, finite number of milliseconds"
            )
        if accuracy is not None and not (_is_number(accuracy) and 0 <= accuracy <= 1):
            raise InvalidRequest("min_accuracy", accuracy, "a number from 0 to 1")


@dataclass(frozen=True, slots=True)
class TensorInput:
    """Normalised model input as raw little-endian bytes, row-major: `shape` is [B, C, H, W].

    Values that are not finite are the caller's mistake, unless `any_values`: then the logits of
    their rows are what comes out.
    """

    dtype: str
    shape: tuple[int, ...]
    data: bytes | memoryview
    any_values: bool = False


@dataclass(frozen=True, slots=True)
class ImageInput:
    """One image as PNG, JPEG or WebP bytes."""

    data: bytes


ModelInput = ImageInput | TensorInput


@dataclass(frozen=True, slots=True)
class Selection:
    """The subnet chosen. `accuracy` is what the catalog expects, `latency_ms` what the device
    class's table says; `degraded` where a better one fits the caller's constraints, but the
    load or the deadline forbade it."""

    subnet: str
    accuracy: float
    latency_ms: float
    degraded: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """Logits [B, classes], the best class of each row, and what they cost: `compute_ms` in the
    engine, together with others in a run of `batch` images; `queue_ms` waiting for it.
    `accuracy_given_up`, from 0 to 1, is how much more an idle gateway's subnet would have been
    expected to reach."""

    logits: Logits
    classes: tuple[int, ...]
    selection: Selection
    compute_ms: float
    queue_ms: float
    batch: int
    accuracy_given_up: float = 0.0


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
