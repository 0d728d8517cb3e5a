"""The commands `tables alias` and `tables unalias`: other names of device classes, in a store.

Imports no torch.
"""

from __future__ import annotations

import argparse

from gateway import cli
from gateway.errors import UnknownDeviceClass
from gateway.stores.by_url import ask
from supernet.latency import check_device_class
from supernet.manifest import read_manifest


def alias(arguments: argparse.Namespace) -> int:
    """Let a name mean a device class, for everyone who reads the store.

    What it is to mean must have a table: so no alias leads to nothing or in a circle.
    """
    name, target = arguments.name, arguments.target
    check_device_class(name)
    classes = cli.classes_of(arguments)
    if target in classes.aliases and target not in classes.names:
        raise ValueError(
            f"alias {name!r}: {target!r} is an alias too: name what it means, "
            f"{classes.aliases[target]!r}"
        )
    if target not in classes.names:
        raise UnknownDeviceClass(target, classes.names)
    if name in classes.names:
        raise ValueError(f"alias {name!r}: a device class of that name has a table of its own")
    _set(arguments, name, target)
    print(f"{name}: means {target}")
    return 0


def unalias(arguments: argparse.Namespace) -> int:
    """Take an alias back."""
    name, aliases = arguments.name, cli.classes_of(arguments).aliases
    if name not in aliases:
        there_are = ", ".join(sorted(aliases)) or "none"
        raise ValueError(f"alias {name!r}: expected one of those there are: {there_are}")
    _set(arguments, name, "")
    print(f"{name}: no longer means {aliases[name]}")
    return 0


def _set(arguments: argparse.Namespace, name: str, target: str) -> None:
    artifact_hash = read_manifest(cli.artifact_of(arguments)).artifact_hash
    ask(arguments.store, lambda store: store.set_alias(artifact_hash, name, target))
