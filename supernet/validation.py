"""Validation errors as one clear line: field, what was expected, value."""

from __future__ import annotations

from pydantic import ValidationError


def first_error(error: ValidationError) -> str:
    """The first of pydantic's errors in one line, and how many more there are."""
    first, *others = error.errors(include_url=False, include_context=False)
    field = ".".join(map(str, first["loc"]))
    value = repr(first["input"])
    text = first["msg"].removeprefix("Value error, ")  # our own validators' words alone
    if first["type"] not in ("missing", "json_invalid") and len(value) <= 60:
        text = f"{text}, got {value}"
    more = f" (and {len(others)} more)" if others else ""
    return f"{field}: {text}{more}" if field else text + more
