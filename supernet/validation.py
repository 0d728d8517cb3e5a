"""What is not as expected, in words of one line: fields of a document, tensors of a file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from pydantic import ValidationError


class Shaped(Protocol):
    """A tensor, whoever made it."""

    @property
    def shape(self) -> tuple[int, ...]: ...


VARIANT = "<"
"""What the tags begin with that tell variants of a field apart: they are no part of its name."""


def first_error(error: ValidationError) -> str:
    """The most telling of pydantic's errors in one line, and how many more there are.

    A name that is not known comes first: it is often the misspelt one that is missing.
    """
    errors = error.errors(include_url=False, include_context=False)
    first, *others = sorted(errors, key=lambda e: e["type"] != "extra_forbidden")
    field = ".".join(str(part) for part in first["loc"] if not str(part).startswith(VARIANT))
    value = repr(first["input"])
    text = first["msg"].removeprefix("Value error, ")  # our own validators' words alone
    if first["type"] not in ("missing", "json_invalid") and len(value) <= 60:
        text = f"{text}, got {value}"
    more = f" (and {len(others)} more)" if others else ""
    return f"{field}: {text}{more}" if field else text + more


def file_name(value: str) -> str:
    """`value`, where it can also name a file or folder of its own; `ValueError` otherwise."""
    if not value.isprintable() or "/" in value or value.strip(". ") != value or not value:
        raise ValueError("expected a name without '/', and without dots or spaces around it")
    return value


def differences(expected: Mapping[str, tuple[int, ...]], found: Mapping[str, Shaped]) -> list[str]:
    """Every missing, unexpected or misshapen tensor in words; empty where all is as expected."""
    problems = [f"missing {name}" for name in expected.keys() - found.keys()]
    problems += [f"unexpected {name}" for name in found.keys() - expected.keys()]
    problems += [
        f"{name} has shape {list(found[name].shape)}, expected {list(shape)}"
        for name, shape in expected.items()
        if name in found and tuple(found[name].shape) != tuple(shape)
    ]
    return sorted(problems)
