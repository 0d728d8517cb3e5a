"""Which of several options were given."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import Any


def given_options(
    arguments: argparse.Namespace, fields: Iterable[str], prefix: str = ""
) -> dict[str, Any]:
    """The values of a configuration's fields by their options, `prefix` and the field's name, that
    are not left out."""
    values = {name: getattr(arguments, prefix + name) for name in fields}
    return {name: value for name, value in values.items() if value is not None}
