"""The command `plan`: how many gateways like one on this machine a traffic needs."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from gateway import cli
from supernet.commandline import Parser, UsageError

if TYPE_CHECKING:
    from gateway.capacity.plan import Plan
    from gateway.capacity.replica import Client, Handling, Replica
    from gateway.engines.costs import Costs, CostsByMacs
    from supernet.manifest import Manifest

TRANSPORT_MS = 1.0  # of the event loop for gRPC and what is around it: docs/scaling.md


def add_command(commands: argparse._SubParsersAction[Parser]) -> None:
    """Add `plan`."""
    parser = commands.add_parser(
        "plan",
        help="how many gateways a traffic and its deadline need",
        description="Simulates gateways like one on this machine: runs take what the engine takes "
        "here, and the scheduler decides as it does when serving. Requests come to replicas at "
        "random. Prints the fewest that answer the asked share in time, what accuracy they "
        "deliver then, and the same with one fewer and one more.",
    )
    parser.add_argument("artifact", type=Path, metavar="ARTIFACT")
    parser.add_argument(
        "--device-class",
        required=True,
        action="append",
        type=_share,
        metavar="NAME[=SHARE]",
        help="who asks; several times for a mix",
    )
    parser.add_argument("--rate", type=_positive, required=True, metavar="R", help="requests/s")
    parser.add_argument("--deadline-ms", type=_positive, required=True, metavar="X")
    parser.add_argument("--latency-ms", type=float, metavar="X", help="budget on that device")
    parser.add_argument("--min-accuracy", type=float, metavar="Y", help="from 0 to 1")
    parser.add_argument(
        "--attainment", type=_fraction, default=0.999, metavar="F", help="in time; 0.999"
    )
    parser.add_argument(
        "--arrivals", type=Path, metavar="CSV", help="recorded, in seconds; at random by default"
    )
    parser.add_argument(
        "--request-ms",
        type=float,
        metavar="X",
        help="of a core for a request besides its run; by default what decoding an image takes "
        f"here, and {TRANSPORT_MS:g} for transport",
    )
    cli.add_store(parser)
    cli.add_engine(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Measure the engine, simulate, print."""
    from gateway.capacity.plan import plan
    from gateway.capacity.traffic import Poisson, Recorded, Traffic

    if arguments.request_ms is not None and not 0 <= arguments.request_ms < float("inf"):
        raise UsageError(f"--request-ms: {arguments.request_ms}: expected 0 or more")
    traffic: Traffic = Recorded.read(arguments.arrivals) if arguments.arrivals else Poisson()
    found = plan(_replica(arguments), traffic, arguments.rate, arguments.attainment)
    if arguments.json:
        print(json.dumps(_document(found)))
    else:
        _print(found, arguments)
    return 0


def _replica(arguments: argparse.Namespace) -> Replica:
    from gateway.capacity.preparation import preparation_ms
    from gateway.capacity.replica import RUNS_NOISE, Replica
    from gateway.engine_opening import opened_engine, scheduling_limits, settled
    from gateway.engines.net import Net
    from gateway.engines.opening import cpus

    given = cli.server_config(arguments)
    net = Net(given.artifact)
    config = settled(given, net)
    engine, costs = opened_engine(config, net)
    request_ms: float | None = arguments.request_ms
    if request_ms is None:
        request_ms = preparation_ms(net.manifest) + TRANSPORT_MS
    return Replica(
        _clients(arguments, net.manifest, costs),
        costs.of,
        scheduling_limits(config, engine),
        arguments.deadline_ms,
        handling_of(request_ms),
        cpus(),
        config.threads or 1,
        RUNS_NOISE,
    )


def handling_of(request_ms: float) -> Handling:
    """What a request takes besides its run: of the event loop first, the rest of its worker."""
    from gateway.capacity.replica import Handling

    return Handling(max(0.0, request_ms - TRANSPORT_MS), min(request_ms, TRANSPORT_MS))


def _clients(
    arguments: argparse.Namespace, manifest: Manifest, costs: Costs | CostsByMacs
) -> list[Client]:
    """Raises `GatewayError` where a class is unknown, or nothing satisfies it."""
    from gateway.capacity.replica import Client
    from gateway.request import Constraints
    from gateway.scheduling.ladder import ladder_of
    from gateway.stores.by_url import read_device_classes

    classes = read_device_classes(arguments.artifact, manifest, arguments.store)
    engine_ms = {e.subnet: costs.of(e.subnet).ms(1) for e in manifest.catalog.entries}
    clients = []
    for name, share in arguments.device_class:
        constraints = Constraints(name, arguments.latency_ms, arguments.min_accuracy)
        ladder = ladder_of(classes.candidates(name), constraints, engine_ms)
        clients.append(Client(name, ladder, share))
    return clients


def _document(found: Plan) -> dict[str, object]:
    return {
        "replicas": found.replicas,
        "capacity": found.capacity,
        "rows": [
            {
                "replicas": row.replicas,
                "rate_each": row.rate_each,
                "attainment": row.outcome.attainment,
                "accuracy": row.outcome.accuracy,
                "busy": row.outcome.busy,
            }
            for row in found.rows
        ],
    }


def _print(found: Plan, arguments: argparse.Namespace) -> None:
    from rich.table import Table

    held = f"{arguments.attainment:.4g} within {arguments.deadline_ms:g} ms"
    table = Table(title=f"{arguments.rate:g} requests/s, {held}", title_justify="left")
    for heading in ("replicas", "requests/s each", "in time", "accuracy", "busy"):
        table.add_column(heading, justify="right")
    for row in found.rows:
        outcome = row.outcome
        cells = (f"{outcome.attainment:.2%}", f"{outcome.accuracy:.4f}", f"{outcome.busy:.0%}")
        style = "bold" if row.replicas == found.replicas else None
        table.add_row(str(row.replicas), f"{row.rate_each:.1f}", *cells, style=style)
    console = cli.console()
    console.print(table)
    console.print(
        f"{found.replicas} needed; one alone holds up to {found.capacity:.0f} requests/s."
    )


def _share(given: str) -> tuple[str, float]:
    name, _, share = given.partition("=")
    return name, _positive(share) if share else 1.0


def _positive(given: str) -> float:
    value = float(given)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {given!r}")
    return value


def _fraction(given: str) -> float:
    value = float(given)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"expected a number above 0 and up to 1, got {given!r}")
    return value
