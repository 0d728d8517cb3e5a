"""The artifact on disk: a folder with weights, normalisation and a manifest. Never pickle.

>>> save(Path("my-net"), supernet, description)            # doctest: +SKIP
>>> artifact = load(Path("my-net"))                         # doctest: +SKIP
>>> artifact.supernet(images, Architecture.parse("d2-2-2-2-2@28"))  # doctest: +SKIP
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from supernet.accuracy_predictor import PREDICTOR_FILE, AccuracyPredictor, read_predictor
from supernet.architecture import Architecture
from supernet.catalog import Catalog
from supernet.durable import write_file, write_folder
from supernet.latency import TABLES_FOLDER, LatencyTable
from supernet.manifest import (
    MANIFEST_FILE,
    NORM_FILE,
    WEIGHTS_FILE,
    AnyPreprocessing,
    ArtifactError,
    Ledger,
    Manifest,
    read_manifest,
    read_part,
)
from supernet.model import Supernet
from supernet.normalization import FROZEN, FrozenNormalization, PieceAffine
from supernet.normalization_shapes import normalization_shapes
from supernet.validation import differences


@dataclass(frozen=True, slots=True)
class Description:
    """What a manifest says besides what the net itself shows."""

    name: str
    preprocessing: AnyPreprocessing
    labels: tuple[str, ...]
    catalog: Catalog = Catalog()
    ledger: Ledger | None = None
    predictor: AccuracyPredictor | None = None

    @classmethod
    def of(cls, artifact: Artifact) -> Description:
        """What to save an artifact again with."""
        m = artifact.manifest
        return cls(
            m.name, m.preprocessing, m.labels, m.catalog, m.ledger, predictor=artifact.predictor
        )


@dataclass(frozen=True, slots=True)
class Artifact:
    """A loaded artifact: the manifest and the supernet, ready to run and to extract from, and
    what predicts its subnets' accuracy where it was imported with that."""

    manifest: Manifest
    supernet: Supernet
    predictor: AccuracyPredictor | None = None


def save(
    folder: Path, supernet: Supernet, description: Description, tables: Iterable[LatencyTable] = ()
) -> Manifest:
    """Write an artifact so that `folder` is either the old one or the whole new one.

    `supernet` has a frozen normalisation, `ValueError` otherwise. Latency tables given here
    travel with the artifact, under `tables/`.
    """
    norm = supernet.normalization
    if not isinstance(norm, FrozenNormalization):
        raise ValueError("a net in training cannot be saved as an artifact: fold it first")
    weights = safetensors.torch.save(_contiguous(_weights(supernet)))
    norms = safetensors.torch.save(_contiguous(norm.tensors()))
    predictor = description.predictor.to_bytes() if description.predictor else None
    manifest = Manifest(
        name=description.name,
        design_space=supernet.space,
        preprocessing=description.preprocessing,
        normalization=norm.kind,
        labels=description.labels,
        catalog=description.catalog,
        ledger=description.ledger,
        weights_sha256=hashlib.sha256(weights).hexdigest(),
        norm_sha256=hashlib.sha256(norms).hexdigest(),
        predictor_sha256=hashlib.sha256(predictor).hexdigest() if predictor else None,
    )
    files = {
        WEIGHTS_FILE: weights,
        NORM_FILE: norms,
        MANIFEST_FILE: _json(manifest),
    }
    if predictor:
        files[PREDICTOR_FILE] = predictor
    for table in tables:
        own = table.model_copy(update={"artifact_hash": manifest.artifact_hash})
        files[f"{TABLES_FOLDER}/{table.device_class}.json"] = own.model_dump_json(indent=1).encode()
    check_place(folder)
    write_folder(folder, files)
    return manifest


def save_catalog(folder: Path, catalog: Catalog) -> None:
    """Put another catalog into the manifest of the artifact at `folder`, in one step; all else
    stays as it is. Raises `ArtifactError` where there is none, `OSError` where it may not."""
    manifest = read_manifest(folder).model_copy(update={"catalog": catalog})
    write_file(folder / MANIFEST_FILE, _json(manifest))


def load(folder: Path) -> Artifact:
    """Read an artifact. Raises `ArtifactError` in one line that lists every bad key."""
    manifest = read_manifest(folder)
    norm = FROZEN[manifest.normalization]()
    numbers = _read_tensors(folder, NORM_FILE, manifest.norm_sha256)
    _check(folder / NORM_FILE, _norm_shapes(manifest, numbers), numbers)
    norm.load(numbers)
    supernet = Supernet(manifest.design_space, norm)
    weights = _read_tensors(folder, WEIGHTS_FILE, manifest.weights_sha256)
    _check(folder / WEIGHTS_FILE, {k: v.shape for k, v in _weights(supernet).items()}, weights)
    supernet.load_state_dict(weights, strict=False)
    supernet.eval().requires_grad_(False)
    return Artifact(manifest, supernet, read_predictor(folder, manifest))


def _norm_shapes(manifest: Manifest, found: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """What the normalisation has to hold; statistics may be there for subnets not listed too."""
    archs = map(Architecture.parse, manifest.catalog.subnets())
    expected = normalization_shapes(manifest.normalization, manifest.design_space, archs)
    if manifest.normalization != "subnet-statistics":
        return expected
    return {name: tuple(tensor.shape) for name, tensor in found.items()} | expected


def _weights(supernet: Supernet) -> dict[str, Tensor]:
    """The shared weights; a folded net has no use for the shared BN scale and shift."""
    left_out = (".gamma", ".beta") if isinstance(supernet.normalization, PieceAffine) else ()
    return {
        name: tensor
        for name, tensor in supernet.state_dict().items()
        if not name.startswith("normalization.") and not name.endswith(left_out)
    }


def _contiguous(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().contiguous() for name, tensor in tensors.items()}


def _json(manifest: Manifest) -> bytes:
    return manifest.model_dump_json(exclude_none=True, indent=1).encode()


def _read_tensors(folder: Path, name: str, sha256: str) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load(read_part(folder, name, sha256))
    except SafetensorError as error:
        raise ArtifactError(f"artifact {folder}: {name}: {error}") from None


def _check(path: Path, expected: Mapping[str, tuple[int, ...]], found: dict[str, Tensor]) -> None:
    """Raise `ArtifactError` listing every missing, unexpected or misshapen tensor."""
    problems = differences(expected, found)
    if problems:
        raise ArtifactError(f"artifact {path.parent}: {path.name}: {'; '.join(problems)}")


def check_place(folder: Path) -> None:
    """Raise `ValueError` where something is at `folder` that `save` would not replace."""
    if folder.exists() and not _may_go(folder):
        raise ValueError(f"artifact {folder}: something else is there; give a new or empty folder")


def _may_go(folder: Path) -> bool:
    return folder.is_dir() and ((folder / MANIFEST_FILE).exists() or not any(folder.iterdir()))
