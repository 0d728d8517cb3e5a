"""How short the fold phase can be: over all 243 subnets at full resolution.

    compofa train compofa --until compound-2 --evaluation-images 50 --out runs/compofa-unfolded-0
    python benchmarks/studies/fold.py runs/compofa-unfolded-0/artifact

Compares statistics per subnet (a), the fold phase at several lengths and rates (b), one averaged
affine a piece without it (c), and the fold phase with an affine of the head for each form of the
last unit (d). All are evaluated here, on the test images, so that the run need not take the time
to. Each artifact given is a group of rows; several seeds show the noise. Of a net whose
choices are free a block, the 243 that couple depth and width are folded, at one setting. What has
been measured is kept in benchmarks/results/fold.json and not measured again.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Self

from rich.console import Console
from rich.table import Table
from torch import nn

from supernet import artifact
from supernet.architecture import Architecture
from supernet.artifact import Artifact
from supernet.catalog import CatalogEntry
from supernet.design_space import DesignSpace
from supernet.manifest import read_manifest
from supernet.model import Supernet
from supernet.normalization import FrozenNorm, PieceAffine, Position
from training.costs.comparison import at_full_resolution, told
from training.evaluate import accuracies
from training.images.data import Dataset
from training.images.data_folder import open_data_folder
from training.images.file_source import FileLoading
from training.recipe import Recipe, read_recipe
from training.start import Start, from_artifact
from training.trainer import Trainer

RESULT = Path("benchmarks/results/fold.json")
ONE = (1.0, 0.01)
SETTINGS = ((4.0, 0.01), (2.0, 0.01), ONE, (0.25, 0.01), (1.0, 0.03))
NOT_TRAINED = (1e-9, 1e-9)  # one step at a rate of nothing


class HeadPerLastUnit(PieceAffine):
    """One affine a piece, but of the head one for each form of the unit before it."""

    @classmethod
    def of(cls, supernet: Supernet, norm: PieceAffine) -> Self:
        """Begins with `norm`'s numbers."""
        found = cls()
        for name, value in norm.values.items():
            piece, rest = name.split("|", 1)
            last = len(supernet.units) - 1
            pieces = [piece]
            if piece == "head":
                forms = (v for v in supernet.space.unit_variants() if v.unit == last)
                pieces = [_head(variant.name) for variant in forms]
            for each in pieces:
                found.values[f"{each}|{rest}"] = nn.Parameter(value.detach().clone())
        return found

    def at(self, position: Position) -> FrozenNorm:
        if position.piece == "head":
            position = Position(_head(position.path[-2]), ())
        return super().at(position)


def _head(last_unit: str) -> str:
    return f"head after {last_unit}"


@dataclass(frozen=True, slots=True)
class Row:
    """One way to normalise one net: test accuracies in [0, 1] over its subnets at full
    resolution, and the training MACs it took."""

    net: str
    way: str
    mean: float
    worst: float
    macs: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("artifacts", nargs="+", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    rows = [Row(**row) for row in json.loads(RESULT.read_text())] if RESULT.exists() else []
    for path in given.artifacts:
        for row in _study(path, rows, given.threads):
            rows.append(row)
            RESULT.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n", "utf-8")
    _print(rows)


def _study(path: Path, rows: list[Row], threads: int) -> Iterator[Row]:
    """What is not among `rows` yet."""
    manifest, net = read_manifest(path), path.parent.name
    if manifest.normalization != "subnet-statistics":
        raise SystemExit(f"{path}: expected a net with statistics per subnet")
    known = {row.way for row in rows if row.net == net}
    if (way := "(a) statistics per subnet") not in known:
        yield _row(net, way, _as_it_is(artifact.load(path), threads), 0)
    ways = {"(c) averaged affines": (NOT_TRAINED, False)}
    coupled = manifest.design_space.can_be_listed
    ways |= {_fold_of(*each): (each, False) for each in (SETTINGS if coupled else (ONE,))}
    if coupled:
        ways["(d) heads by last unit, " + _told(*ONE)] = (ONE, True)
    for way, (setting, heads) in ways.items():
        if way not in known:
            entries, macs = _folded(artifact.load(path), *setting, heads, threads)
            yield _row(net, way, entries, macs if setting != NOT_TRAINED else 0)


def _fold_of(epochs: float, rate: float) -> str:
    return "(b) fold, " + _told(epochs, rate)


def _told(epochs: float, rate: float) -> str:
    return f"{epochs:g} epochs, rate {rate:g}"


def _as_it_is(loaded: Artifact, threads: int) -> list[CatalogEntry]:
    """What the net reaches with statistics per subnet."""
    data = _data(loaded, _recipe(*ONE))
    entries = at_full_resolution(loaded.manifest.catalog)
    return _measured(loaded.supernet, entries, data, threads)


def _folded(
    loaded: Artifact, epochs: float, rate: float, heads: bool, threads: int
) -> tuple[list[CatalogEntry], int]:
    """What the net reaches after a fold phase, and the phase's MACs."""
    recipe = _recipe(epochs, rate)
    data = _data(loaded, recipe)
    start = from_artifact(loaded, recipe, None, len(data.labels))
    supernet, macs = start.supernet, 0
    supernet.space = _coupled(supernet.space)
    if heads:
        supernet, macs = _trained(_recipe(*NOT_TRAINED), start, data, threads)
        assert isinstance(supernet.normalization, PieceAffine)
        supernet.normalization = HeadPerLastUnit.of(supernet, supernet.normalization)
        start = replace(start, supernet=supernet)
    supernet, more = _trained(recipe, start, data, threads)
    entries = _measured(supernet, at_full_resolution(loaded.manifest.catalog), data, threads)
    return entries, macs + more


def _data(loaded: Artifact, recipe: Recipe) -> Dataset:
    loading = FileLoading(loaded.manifest.preprocessing, recipe.augmentation)
    return open_data_folder(None, loading, validation_images=recipe.validation_images)


def _coupled(space: DesignSpace) -> DesignSpace:
    """The part of a space that can be listed: depth and width in step, one kernel a unit."""
    if space.can_be_listed:
        return space
    kernels = tuple((kernel,) for kernel in space.representative_kernels)
    return space.model_copy(update={"compound": True, "kernels": kernels})


def _trained(recipe: Recipe, start: Start, data: Dataset, threads: int) -> tuple[Supernet, int]:
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "checkpoint.pt"
        trainer = Trainer(
            recipe,
            start.supernet,
            data.train,
            checkpoint,
            teacher=start.teacher,
            num_threads=threads,
        )
        trainer.run(lambda _: None)
    return trainer.supernet.eval(), sum(phase.macs for phase in trainer.phases)


def _recipe(epochs: float, rate: float) -> Recipe:
    """The recipe `fold` on images as they are, which is how the nets were trained."""
    recipe = read_recipe("fold")
    (phase,) = recipe.phases
    phase = phase.model_copy(update={"epochs": epochs, "learning_rate": rate})
    images = {"crop_padding": 0, "mirror": False}
    return recipe.model_copy(update={"phases": (phase,)} | images)


def _measured(
    supernet: Supernet, entries: list[CatalogEntry], data: Dataset, threads: int
) -> list[CatalogEntry]:
    """The entries with the test accuracies of `supernet`."""
    archs = [Architecture.parse(entry.subnet) for entry in entries]
    if supernet.space.can_be_listed:  # then an id has only depths
        archs = [Architecture(arch.depths, arch.resolution) for arch in archs]
    assert data.test is not None
    test = accuracies(supernet, data.test, archs, num_threads=threads)
    return [
        entry.model_copy(update={"test_accuracy": test[arch]})
        for entry, arch in zip(entries, archs, strict=True)
    ]


def _row(net: str, way: str, entries: list[CatalogEntry], macs: int) -> Row:
    test = [told(entry) for entry in entries]
    return Row(net, way, fmean(test), min(test), macs)


def _print(rows: list[Row]) -> None:
    table = Table("net", "normalisation", title="The fold phase, test accuracy, %")
    for heading in ("mean of 243", "worst", "TMACs"):
        table.add_column(heading, justify="right")
    for row in sorted(rows, key=lambda row: (row.net, row.way)):
        cells = (f"{100 * accuracy:.2f}" for accuracy in (row.mean, row.worst))
        table.add_row(row.net, row.way, *cells, f"{row.macs / 1e12:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
