"""`compofa profile`: a machine's latency table, measured here or by the machine's owner."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from supernet.commandline import Parser, warn
from supernet.durable import write_file
from supernet.latency import check_device_class
from training.commands.options import add_threads, milliseconds, positive
from training.profiles.engines import DEVICES, ENGINES, PRECISIONS, Setting, check_setting

if TYPE_CHECKING:
    from supernet.artifact import Artifact
    from supernet.latency import LatencyTable
    from training.profiles.portable.check import Check
    from training.profiles.portable.plan import Plan

_TOO_FAR = 0.05
_MEASUREMENTS = 10


def add_parsers(commands: argparse._SubParsersAction[Parser]) -> None:
    """Add `profile` to the commands."""
    parser = commands.add_parser(
        "profile",
        help="measure latencies on this machine",
        description="Measures how long each subnet takes: by the pieces that subnets share, whose "
        "sums a few whole subnets correct and check; or every subnet by itself.",
    )
    parser.add_argument("artifact", type=Path)
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument("--device-class", metavar="NAME", help="of this machine")
    target.add_argument(
        "--export", type=Path, metavar="DIR",
        help="write a folder that another device measures itself with, by ONNX Runtime alone",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, help="write the table to a file, not to the store")
    parser.add_argument(
        "--by", choices=("piece", "subnet"), help="by pieces where there are many subnets"
    )
    parser.add_argument("--subnet", action="append", metavar="ID", help="all by default")
    parser.add_argument(
        "--from-class", metavar="NAME",
        help="measure a few subnets and tell the others from this device class's table",
    )  # fmt: skip
    parser.add_argument(
        "--measurements", type=positive, metavar="N",
        help=f"with --from-class: how many, {_MEASUREMENTS} by default",
    )  # fmt: skip
    parser.add_argument("--runs", type=positive, help="timed runs a net; 60 a piece, 30 a subnet")
    parser.add_argument("--default-budget-ms", type=milliseconds)
    parser.add_argument("--engine", choices=list(ENGINES), default="torch")
    parser.add_argument("--precision", choices=PRECISIONS, default="float32")
    parser.add_argument("--batch-size", type=positive, default=1, metavar="N", help="images")
    parser.add_argument("--device", choices=DEVICES, default="cpu")
    add_threads(parser, 1)
    parser.set_defaults(command=_profile)


def _profile(arguments: argparse.Namespace) -> int:
    setting = _setting(arguments)
    from supernet import artifact

    loaded = artifact.load(arguments.artifact)
    known = _known(arguments)
    plan = _plan(arguments, loaded, known)
    if arguments.export is not None:
        return _export(arguments, loaded, plan)
    table = _measured(arguments, loaded, plan, setting)
    if known is not None:
        from supernet.transfer import transferred_table

        table = transferred_table(loaded.supernet.space, known, table, warn)
    if arguments.out is None:
        print(arguments.deliver(table))
    else:
        write_file(arguments.out, table.model_dump_json(indent=1).encode() + b"\n")
    return 0


def _setting(arguments: argparse.Namespace) -> Setting:
    """What is asked for, checked before anything is loaded or measured."""
    if arguments.export is not None:
        setting = Setting("onnxruntime", batch_size=arguments.batch_size)
    else:
        check_device_class(arguments.device_class)
        if arguments.out is None and arguments.deliver is None:
            raise ValueError("--out: expected the file to write the latency table to")
        if arguments.out is not None and not arguments.out.parent.is_dir():
            raise ValueError(f"--out {arguments.out}: there is no such folder")
        setting = Setting(
            arguments.engine, arguments.threads, arguments.precision, arguments.batch_size,
            arguments.device,
        )  # fmt: skip
    check_setting(setting)
    return setting


def _known(arguments: argparse.Namespace) -> LatencyTable | None:
    """The table to transfer from, where that is asked for."""
    if arguments.from_class is None:
        if arguments.measurements is not None:
            raise ValueError("--measurements: goes with --from-class")
        return None
    if arguments.look_up is None:
        raise ValueError("--from-class: tables are found by the command 'compofa profile'")
    if arguments.subnet or arguments.by:
        raise ValueError("--from-class: picks its subnets, without --subnet and --by")
    table: LatencyTable = arguments.look_up(arguments.artifact, arguments.from_class)
    return table


def _plan(arguments: argparse.Namespace, loaded: Artifact, known: LatencyTable | None) -> Plan:
    from training.evaluate import asked_for
    from training.profiles.profile import by_piece, by_subnet, is_worth_pieces

    space, listed = loaded.supernet.space, loaded.manifest.catalog.subnets()
    if known is not None:
        from supernet.transfer import pick

        picked = pick(space, known.latency_ms, arguments.measurements or _MEASUREMENTS)
        return by_subnet(loaded.supernet, asked_for(picked, space))
    archs = asked_for(arguments.subnet or list(listed), space)
    by = arguments.by or ("piece" if is_worth_pieces(archs) else "subnet")
    return by_piece(loaded.supernet, archs) if by == "piece" else by_subnet(loaded.supernet, archs)


def _export(arguments: argparse.Namespace, loaded: Artifact, plan: Plan) -> int:
    from training.profiles.device_folder import SCRIPT_FILE, write_device_folder
    from training.report import track

    with track("export", plan.size) as advance:
        write_device_folder(arguments.export, loaded, plan, arguments.batch_size, advance)
    print(f"python3 {arguments.export / SCRIPT_FILE} --device-class NAME --out table.json")
    return 0


def _measured(
    arguments: argparse.Namespace, loaded: Artifact, plan: Plan, setting: Setting
) -> LatencyTable:
    from training.profiles.profile import profile
    from training.report import track

    with track("profile", plan.size) as advance:
        table, check = profile(
            loaded,
            arguments.device_class,
            plan,
            setting,
            runs=arguments.runs,
            default_budget_ms=arguments.default_budget_ms,
            advance=advance,
        )
    if check is not None:
        say(check)
    return table


def say(check: Check) -> None:
    """How well pieces predict whole subnets, and that they do not where it is so."""
    print(f"sums of pieces: {check}")
    if check.mean_error > _TOO_FAR:
        warn("the sums are far off: measure with --by subnet")
