"""`compofa import-ofa`: a public Once-for-All or CompOFA checkpoint becomes an artifact."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from supernet.commandline import Parser
from supernet.mobilenet import mobilenet
from supernet.presets import Freedom, feature_width
from training.commands.options import name_of_file

if TYPE_CHECKING:
    from supernet.accuracy_predictor import AccuracyPredictor
    from supernet.catalog import Catalog
    from supernet.design_space import DesignSpace

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, as its nets expect
_CENTRE_CROP = 0.875


def add_parsers(commands: argparse._SubParsersAction[Parser]) -> None:
    """Add `import-ofa` to the commands."""
    parser = commands.add_parser(
        "import-ofa",
        help="turn a public OFA checkpoint into an artifact",
        description="Reads a MobileNetV3 supernet that Once-for-All's or CompOFA's code has saved, "
        "of any width, with or without kernel transforms, or a subnet cut from one. Its batch-norm "
        "statistics fit only the largest subnet: calibrate the artifact before it is used.",
    )
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="the artifact")
    parser.add_argument(
        "--accuracy-predictor", type=Path, metavar="FILE",
        help="fill the catalog with what this predicts, and keep it to search with; the catalog "
        "stays empty otherwise",
    )  # fmt: skip
    parser.add_argument(
        "--design-space", choices=get_args(Freedom),
        help="which subnets to offer; by default all that a net with kernel transforms has, and "
        "CompOFA's 243 a resolution of one without",
    )  # fmt: skip
    parser.add_argument(
        "--name", type=name_of_file, help="of the artifact; that of its design space by default"
    )
    parser.add_argument(
        "--labels", type=Path, metavar="FILE", help="one a line; their numbers by default"
    )
    parser.add_argument(
        "--resolution", type=int, metavar="PIXELS", help="of a subnet's checkpoint; 224 by default"
    )
    parser.set_defaults(command=_import)


def _import(arguments: argparse.Namespace) -> int:
    from supernet import artifact
    from supernet.accuracy_predictor import AccuracyPredictor
    from supernet.catalog import Catalog
    from supernet.manifest import Preprocessing
    from supernet.ofa_checkpoint import import_ofa

    supernet = import_ofa(
        arguments.checkpoint, freedom=arguments.design_space, resolution=arguments.resolution
    )
    space = supernet.space
    predictor, catalog = None, Catalog()
    if arguments.accuracy_predictor is not None:
        predictor = AccuracyPredictor.read(arguments.accuracy_predictor)
        catalog = _catalog(space, predictor, arguments.accuracy_predictor.name)
    description = artifact.Description(
        name=arguments.name or space.name.partition(":")[0],
        preprocessing=Preprocessing(mean=_MEAN, std=_STD, centre_crop=_CENTRE_CROP),
        labels=_labels(arguments.labels, space.skeleton.classes),
        catalog=catalog,
        predictor=predictor,
    )
    artifact.save(arguments.out, supernet, description)
    for line in _account(arguments, space, catalog):
        print(line)
    return 0


def _catalog(space: DesignSpace, predictor: AccuracyPredictor, name: str) -> Catalog:
    """Representatives with predicted accuracies."""
    from supernet.accuracy_predictor import TRAINED_RESOLUTIONS
    from supernet.catalog import Catalog, CatalogEntry
    from supernet.complexity import complexity

    archs = [a for a in space.representatives() if a.resolution in TRAINED_RESOLUTIONS]
    accuracies = predictor.predict(space, archs)
    entries = []
    for arch, accuracy in zip(archs, accuracies, strict=True):
        cost = complexity(space, arch)
        entries.append(
            CatalogEntry(
                subnet=arch.id,
                accuracy=round(accuracy, 5),
                macs=cost.macs,
                parameters=cost.parameters,
            )
        )
    return Catalog(entries=tuple(entries), predicted_by=name)


def _labels(path: Path | None, classes: int) -> tuple[str, ...]:
    if path is None:
        return tuple(map(str, range(classes)))
    try:
        labels = tuple(path.read_text(encoding="utf-8").splitlines())
    except UnicodeDecodeError:
        raise ValueError(f"labels {path}: expected text in UTF-8") from None
    if len(labels) != classes:
        raise ValueError(f"labels {path}: expected {classes} lines, got {len(labels)}")
    return labels


def _account(arguments: argparse.Namespace, space: DesignSpace, catalog: Catalog) -> Iterator[str]:
    """What was found, what came of it, and what to do next."""
    skeleton = mobilenet(space.skeleton)
    stored = "-".join(str(unit.kernel) for unit in skeleton.units)
    transformed = "transformed" if space.kernel_transform else "cropped at the centre"
    what = f"subnet {space.only}" if space.only else f"supernet, kernels {stored} {transformed}"
    wide = feature_width(skeleton.classifier_channels)
    yield f"{arguments.checkpoint}: {what}, width {wide:.2g}, {skeleton.classes} classes"
    size = f"{space.size():,}" if space.can_be_listed else f"{space.size():.2g}"
    yield f"design space: {space.name}, subnets at all resolutions: {size}"
    yield f"artifact: {arguments.out}"
    if catalog.predicted_by is None:
        yield "catalog: empty, for want of images or an --accuracy-predictor"
    else:
        yield f"catalog: {len(catalog)} subnets, accuracies predicted by {catalog.predicted_by}"
        listed = {int(subnet.rpartition("@")[2]) for subnet in catalog.subnets()}
        left_out = [r for r in space.resolutions if r not in listed]
        if left_out:
            sizes = ", ".join(map(str, left_out))
            yield f"not in the catalog: resolution {sizes}, which no predictor was trained at"
    if space.only is None:
        yield f"next: compofa calibrate {arguments.out} --data FOLDER (of images)"
    yield f"then: compofa evaluate {arguments.out} --data FOLDER --write"
