"""Command-line options that several of the training side's commands share."""

from __future__ import annotations

import argparse
import math
import os
from pathlib import Path

from supernet.validation import file_name


def add_data(parser: argparse._ActionsContainer) -> None:
    parser.add_argument(
        "--data", type=Path, help="Fashion-MNIST's four .gz files, or a folder of images by class"
    )
    parser.add_argument(
        "--workers", type=count, default=_cores(), help="processes that decode image files"
    )


def add_threads(parser: argparse.ArgumentParser, default: int | None = None) -> None:
    parser.add_argument("--threads", type=positive, default=default or _cores())


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number from 1")
    return int(text)


def count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number from 0")
    return int(text)


def name_of_file(text: str) -> str:
    try:
        return file_name(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error}") from None


def milliseconds(text: str) -> float:
    return _positive_number(text, " of milliseconds")


def positive_number(text: str) -> float:
    return _positive_number(text)


def fraction(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0.0 <= value <= 1.0:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number from 0 to 1")
    return value


def _positive_number(text: str, unit: str = "") -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0.0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a positive number{unit}")
    return value
