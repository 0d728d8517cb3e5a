"""Device class, budget and accuracy for protocols that have no fields for them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from gateway.errors import InvalidRequest
from gateway.request import Constraints

DEVICE_CLASS = "device_class"
NUMBERS = ("latency_budget_ms", "min_accuracy")
_OF_KEY = {f"x-{name.replace('_', '-')}": name for name in (DEVICE_CLASS, *NUMBERS)}

Metadata = Iterable[tuple[str, str | bytes]]


def metadata_hints(metadata: Metadata | None) -> dict[str, str | float]:
    """What a call's metadata say: `x-device-class`, `x-latency-budget-ms` and `x-min-accuracy`.
    Raises `InvalidRequest`."""
    found = {_OF_KEY[key]: value for key, value in metadata or () if key in _OF_KEY}
    return text_hints(found)


def text_hints(given: Mapping[str, str | bytes]) -> dict[str, str | float]:
    """The hints among `given`, numbers read. Raises `InvalidRequest`."""
    return {name: _read(name, given[name]) for name in (DEVICE_CLASS, *NUMBERS) if name in given}


def constraints_of(hints: Mapping[str, str | float], fallback: str | None) -> Constraints:
    """The constraints of a request; without a device class those of `fallback`, if there is one.
    Raises `InvalidRequest`."""
    device_class, (budget, accuracy) = hints.get(DEVICE_CLASS), (hints.get(n) for n in NUMBERS)
    if device_class is None:
        device_class = fallback or ""
    if not isinstance(device_class, str):
        raise InvalidRequest(DEVICE_CLASS, device_class, "a string")
    return Constraints(device_class, _number(NUMBERS[0], budget), _number(NUMBERS[1], accuracy))


def _read(name: str, value: str | bytes) -> str | float:
    try:
        text = value.decode() if isinstance(value, bytes) else value
        return text if name == DEVICE_CLASS else float(text)
    except ValueError:  # of UnicodeDecodeError too
        expected = "UTF-8 text" if name == DEVICE_CLASS else "a number"
        raise InvalidRequest(name, value, expected) from None


def _number(name: str, value: str | float | None) -> float | None:
    if isinstance(value, str):
        raise InvalidRequest(name, value, "a number")
    return value
