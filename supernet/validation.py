"""Validation errors as one clear line: field, what was expected, value."""

from __future__ import annotations

from pydantic import ValidationError


def first_error(error: ValidationError) -> str:
    """The most telling of pydantic's errors in one line, and how many more there are.

    A name that is not known comes first: it is often the misspelt one that is missing.
    """
    errors = error.errors(include_url=False, include_context=False)
    first, *others = sorted(errors, key=lambda e: e["type"] != "extra_forbidden")
    field = ".".join(map(str, first["loc"]))
    value = repr(first["input"])
    text = first["msg"].removeprefix("Value error, ")  # our own validators' words alone
    if first["type"] not in ("missing", "json_invalid") and len(value) <= 60:
        text = f"{text}, got {value}"
    more = f" (and {len(others)} more)" if others else ""
    return f"{field}: {text}{more}" if field else text + more
