"""Where an export is written first, and how it comes to its place."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_CHATTY = ("torch", "onnxscript", "onnx_ir", "nncf", "executorch", "torchao", "root")


@contextmanager
def place_for(out: Path) -> Iterator[Path]:
    """Where to write first: in a folder of its own beside `out`. On success what is there is
    moved to its place, and on any error nothing is left. An `OSError` names `out`.

    A file is replaced in one step. Of several the one asked for goes first and comes last, so
    that it never stands beside others that are not its own.
    """
    if out.exists() and not out.is_file():
        raise ValueError(f"--out {out}: expected a file, something else is there")
    out = out.resolve()  # a link stays, and what it leads to is replaced
    try:
        fresh = Path(tempfile.mkdtemp(prefix=".compofa-export-", dir=out.parent))
        try:
            yield fresh / out.name
            _move(fresh, out)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(out)) from None


def _move(fresh: Path, out: Path) -> None:
    files = list(fresh.iterdir())
    for file in files:
        with file.open("rb") as written:  # by libraries that do not see it through to the disk
            os.fsync(written.fileno())
    if len(files) > 1:
        out.unlink(missing_ok=True)
    for file in sorted(files, key=lambda file: file.name == out.name):
        file.replace(out.with_name(file.name))


@contextmanager
def quiet() -> Iterator[None]:
    """Exporters log and warn about their own insides; what is wrong they raise."""
    loggers = [logging.getLogger(name) for name in _CHATTY]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
