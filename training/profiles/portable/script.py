"""What a device's owner runs: measures a folder of exported nets, writes their latency table."""

from __future__ import annotations

import argparse
import re
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from .machine import pinned, processor
from .onnx_nets import CPU, OnnxNets
from .plan import measure
from .table import table_document, write_table

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import NoReturn

    from .plan import Measured

_DEVICE_CLASS = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_PACKAGES = ("numpy", "onnxruntime")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"measure: {message}; try --help\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0, or 1 with one line on standard error, or 2 for bad usage."""
    parser = _Parser(prog="measure.pyz", description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, help="where this file is by default")
    parser.add_argument("--device-class", required=True, metavar="NAME", help="of this device")
    parser.add_argument("--out", required=True, type=Path, metavar="FILE", help="the table, JSON")
    parser.add_argument("--threads", type=_positive, default=1)
    parser.add_argument("--runs", type=_positive, default=60, help="timed runs a net")
    parser.add_argument("--provider", default=CPU, help=f"ONNX Runtime's; {CPU} by default")
    given = parser.parse_args(arguments)
    try:
        _run(given)
    except KeyboardInterrupt:
        return 130
    except (OSError, ValueError) as error:
        print("measure: " + " ".join(str(error).split()), file=sys.stderr)
        return 1
    return 0


def _run(given: argparse.Namespace) -> None:
    _check(given)
    import onnxruntime  # type: ignore[import-untyped]

    if given.provider not in onnxruntime.get_available_providers():
        there = ", ".join(onnxruntime.get_available_providers())
        raise ValueError(f"--provider {given.provider}: expected one of {there}")
    nets = OnnxNets.read(given.folder or Path(sys.argv[0]).resolve().parent)
    with pinned(given.threads) as cpus:
        measured = measure(
            nets.plan,
            lambda net: nets.timer(net, given.threads, given.provider),
            given.runs,
            _progress(nets.plan.size),
        )
    conditions = {
        "processor": processor(),
        "threads": str(given.threads),
        "pinned": cpus,
        "engine": f"onnxruntime {onnxruntime.__version__}",
        "provider": given.provider,
        "precision": "float32",
        "batch_size": str(nets.batch_size),
    }
    document = table_document(measured, given.device_class, nets.artifact_hash, conditions)
    write_table(given.out, document)
    print(_told(given, measured))


def _check(given: argparse.Namespace) -> None:
    """What would be a pity to find out after minutes of measuring."""
    if _DEVICE_CLASS.fullmatch(given.device_class) is None:
        raise ValueError(
            f"device class {given.device_class!r}: expected letters, digits, '.', '_' or '-', at "
            "most 63"
        )
    if not given.out.parent.is_dir() or given.out.is_dir():
        raise ValueError(f"--out {given.out}: expected a file in a folder that is there")
    missing = [package for package in _PACKAGES if find_spec(package) is None]
    if missing:
        names = " ".join(missing)
        raise ValueError(f"needs {names}: {sys.executable} -m pip install {names}")


def _told(given: argparse.Namespace, measured: Measured) -> str:
    lines = [f"{given.out}: {len(measured.latency_ms)} subnets"]
    if measured.check:
        lines.append(f"sums of pieces: {measured.check}")
    lines.append(
        f"compofa tables import {given.out} --format json --device-class {given.device_class} "
        "--artifact ARTIFACT"
    )
    return "\n".join(lines)


def _progress(total: int) -> Callable[[float], None] | None:
    """A line that counts, where somebody watches."""
    if not sys.stderr.isatty():
        return None
    done = 0.0

    def advance(share: float) -> None:
        nonlocal done
        done += share
        end = "\n" if done > total - 1e-6 else ""
        print(f"\rmeasuring: {done / total:4.0%}", end=end, file=sys.stderr, flush=True)

    return advance


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number from 1")
    return int(text)
