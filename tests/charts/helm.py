"""Helm as a library, in a process of its own.

The library is Go's runtime with its signal handlers; in a process that runs other native code it
has ended the whole test run.
"""

from __future__ import annotations

import functools
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any


class HelmError(ValueError):
    """What Helm says of values or templates that it does not take."""


def render(chart: Path, values: dict[str, Any], name: str, namespace: str) -> dict[str, str]:
    """The text of each template's path. Raises `HelmError`."""
    return _process().submit(_render, chart, values, name, namespace).result()


def lint(chart: Path, values: dict[str, Any]) -> dict[str, Any]:
    """The library's report: `messages`, and `errors` of those that a strict lint minds."""
    return _process().submit(_lint, chart, values).result()


def version() -> str:
    return _process().submit(_version).result()


@functools.cache
def _process() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, mp_context=get_context("spawn"))


def _render(chart: Path, values: dict[str, Any], name: str, namespace: str) -> dict[str, str]:
    import helm_python

    try:
        with helm_python.Chart.load(chart) as loaded:
            return loaded.render(values, name=name, namespace=namespace)
    except helm_python.HelmError as error:  # its own does not survive pickling
        raise HelmError(str(error)) from None


def _lint(chart: Path, values: dict[str, Any]) -> dict[str, Any]:
    import helm_python

    return helm_python.lint(chart, values, strict=True)


def _version() -> str:
    import helm_python

    return helm_python.__version__
