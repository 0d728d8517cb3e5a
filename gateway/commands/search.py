"""The command `search`: which subnet fits a device and a budget.

Imports no torch, and numpy only where the space is too large to list.
"""

from __future__ import annotations

import argparse
import json
from importlib.util import find_spec
from pathlib import Path

from gateway import cli
from gateway.commands.given_options import given_options
from gateway.request import Constraints, Selection
from gateway.select import Candidates, select
from supernet.architecture import Architecture
from supernet.commandline import Parser, warn
from supernet.latency import LatencyTable
from supernet.manifest import Manifest, read_manifest

_PICTURES = (".png", ".svg")


def add_command(commands: argparse._SubParsersAction[Parser]) -> None:
    """Add `search`."""
    parser = commands.add_parser(
        "search",
        help="which subnet fits a device and a budget",
        description="The most accurate subnet of the catalog within the latency budget, or the "
        "fastest that is accurate enough. Where the artifact's space is too large to list, "
        "the whole of it is searched by evolution, if the artifact keeps an accuracy predictor "
        "and the device class's table has block latencies.",
    )
    parser.add_argument("artifact", type=Path, metavar="ARTIFACT")
    cli.add_constraints(parser)
    cli.add_store(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--plot",
        type=_picture,
        metavar="FILE",
        help="draw all subnets and the choice: .png or .svg",
    )
    evolution = parser.add_argument_group("spaces too large to list")
    evolution.add_argument("--population", type=int, metavar="N", help="of a generation; 100")
    evolution.add_argument("--generations", type=int, metavar="N", help="500")
    evolution.add_argument("--seed", type=int, metavar="N", help="the same finds the same; 0")
    parser.set_defaults(run=search)


def search(arguments: argparse.Namespace) -> int:
    """Print the subnet that selection would choose."""
    from gateway.stores.by_url import read_device_classes

    if arguments.plot and find_spec("matplotlib") is None:
        raise ValueError("--plot: needs matplotlib: pip install 'compofa[plot]'")
    constraints = cli.constraints_of(arguments)
    manifest = read_manifest(arguments.artifact)
    classes = read_device_classes(arguments.artifact, manifest, arguments.store)
    candidates = classes.candidates(constraints.device_class)
    table = classes.table(constraints.device_class).table
    selection = _selection(arguments, constraints, manifest, candidates, table)
    if arguments.plot:
        from gateway.commands.search_plot import draw

        draw(arguments.plot, candidates, constraints, selection)
    document = _document(selection)
    if arguments.json:
        print(json.dumps(document))
    else:
        _print(document, constraints.device_class)
    return 0


def _selection(
    arguments: argparse.Namespace,
    constraints: Constraints,
    manifest: Manifest,
    candidates: Candidates,
    table: LatencyTable,
) -> Selection:
    """From the whole space where that can be searched, or else from the catalog."""
    if manifest.design_space.can_be_listed:
        return select(candidates, constraints)
    from gateway.search.elastic_search import ElasticSearch, obstacle
    from gateway.search.evolution import Evolution

    reason = obstacle(manifest, table)
    if reason is not None:
        warn(f"searched the catalog's {len(manifest.catalog)} subnets only: {reason}")
        return select(candidates, constraints)
    evolution = Evolution(**given_options(arguments, ("population", "generations", "seed")))
    whole = ElasticSearch(arguments.artifact, manifest, candidates, table)
    if whole.missing:
        warn(f"the table of {table.device_class!r} lacks {whole.missing} blocks: left out")
    return whole.select(constraints, evolution)


def _picture(given: str) -> Path:
    path = Path(given)
    if path.suffix.lower() not in _PICTURES:
        raise argparse.ArgumentTypeError(f"expected a file ending in .png or .svg, got {given!r}")
    return path


def _document(selection: Selection) -> dict[str, object]:
    arch = Architecture.parse(selection.subnet)
    return {
        "subnet": selection.subnet,
        "accuracy": selection.accuracy,
        "latency_ms": selection.latency_ms,
        "resolution": arch.resolution,
        "depths": list(arch.depths),
    }


def _print(document: dict[str, object], device_class: str) -> None:
    from rich.table import Table

    table = Table()
    table.add_column("subnet", overflow="fold")  # an id that is cut is none
    for heading in ("accuracy", f"ms on {device_class}", "resolution", "depths"):
        table.add_column(heading)
    depths = document["depths"]
    assert isinstance(depths, list)
    table.add_row(
        str(document["subnet"]),
        f"{document['accuracy']:.4f}",
        f"{document['latency_ms']:.4g}",
        str(document["resolution"]),
        "-".join(map(str, depths)),
    )
    cli.console().print(table)
