"""`artifact.json`: everything an artifact says of itself besides its numbers.

Reading it needs no torch, so a search over the catalog starts at once.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    model_validator,
)

from supernet.architecture import Architecture
from supernet.catalog import Catalog
from supernet.design_space import DesignSpace
from supernet.skeleton import Inputs
from supernet.validation import first_error

SCHEMA_VERSION: Final = 1
MANIFEST_FILE = "artifact.json"
WEIGHTS_FILE = "weights.safetensors"
NORM_FILE = "norm.safetensors"
NormalizationKind = Literal["piece-affine", "subnet-statistics", "shared-statistics"]


class ArtifactError(ValueError):
    """An artifact that cannot be read; the message is one line for the user."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Preprocessing(_Frozen):
    """From pixels in [0, 255] to the input tensor: scale to [0, 1], subtract `mean`, divide by
    `std`, one of each a channel. Resizing is bilinear and antialiased."""

    mean: tuple[float, ...]
    std: tuple[Annotated[float, Field(gt=0.0)], ...]
    centre_crop: Annotated[float, Field(gt=0.0, le=1.0)] | None = None
    """Of an image in a file, the centred square with this share of its shorter side is taken:
    0.875 is what nets for ImageNet are evaluated with. Absent: the whole image, stretched."""

    def box(self, width: int, height: int) -> tuple[float, float, float, float]:
        """The part that is taken of an image file: left, top, right, bottom in pixels."""
        if self.centre_crop is None:
            return 0.0, 0.0, float(width), float(height)
        side = self.centre_crop * min(width, height)
        left, top = (width - side) / 2, (height - side) / 2
        return left, top, left + side, top + side


class TextPreprocessing(_Frozen):
    """From text to tokens: the characters of `alphabet` are 1, 2 and so on, all others 0; what is
    short is filled up with zeros."""

    alphabet: Annotated[str, Field(min_length=1)]

    def tokens(self, text: str, count: int) -> list[int]:
        """The first `count`."""
        found = [self.alphabet.find(character) + 1 for character in text[:count]]
        return found + [0] * (count - len(found))


def _what_it_makes(given: object) -> str:
    makes_tokens = isinstance(given, TextPreprocessing) or (
        isinstance(given, dict) and "alphabet" in given
    )
    return "<tokens>" if makes_tokens else "<images>"


AnyPreprocessing = Annotated[
    Annotated[Preprocessing, Tag("<images>")] | Annotated[TextPreprocessing, Tag("<tokens>")],
    Discriminator(_what_it_makes),
]


class Phase(_Frozen):
    """What one phase of training cost, all processes together. `macs` count forward 1 and
    backward 2; `waiting_hours`, part of `hours`, is how long training waited for images."""

    name: str
    epochs: float
    images: int
    macs: int
    hours: float
    waiting_hours: float | None = None
    energy_kwh: float | None = None
    co2_kg: float | None = None
    train_loss: float | None = None


class Ledger(_Frozen):
    """What the artifact cost and how to make it again.

    `energy_source` says how energy was measured and which electricity was assumed, or why there
    is no figure. `code_version` ends in the commit where the code ran from a checkout, and in
    `.dirty` where that had changes. `start` names the net that training began with, whose own
    cost is not included; None where it began with random weights. `recipe_sha256` is of all that
    is in the recipe but its seed. `settings` says on what it ran: hardware, processes, threads,
    versions; in order, where it was interrupted and went on otherwise. The fields of those names
    are then the last ones, and the hours compare with no other run's. `evaluation_images` is how
    many of each held-out split the catalog's accuracies were measured on; None for all.
    """

    recipe: str
    recipe_sha256: str
    code_version: str
    seed: int
    start: str | None = None
    hardware: str
    device: str = "cpu"
    precision: str = "float32"
    processes: int = 1
    threads: int
    torch_version: str
    versions: dict[str, str] = {}
    train_images: int
    validation_images: int
    evaluation_images: int | None = None
    phases: tuple[Phase, ...]
    energy_kwh: float | None = None
    co2_kg: float | None = None
    energy_source: str | None = None
    settings: tuple[str, ...] = ()
    finished: str

    @property
    def images(self) -> int:
        return sum(phase.images for phase in self.phases)

    @property
    def macs(self) -> int:
        return sum(phase.macs for phase in self.phases)

    @property
    def hours(self) -> float:
        return sum(phase.hours for phase in self.phases)


class Manifest(_Frozen):
    """The validated content of `artifact.json`."""

    schema_version: Literal[1] = SCHEMA_VERSION
    name: str
    design_space: DesignSpace
    preprocessing: AnyPreprocessing
    normalization: NormalizationKind
    labels: tuple[str, ...]
    catalog: Catalog = Catalog()
    ledger: Ledger | None = None
    weights_sha256: str
    norm_sha256: str
    predictor_sha256: str | None = None

    @property
    def of_images(self) -> Preprocessing:
        """The preprocessing of a net that takes images. Raises `ValueError` for one that does
        not."""
        if isinstance(self.preprocessing, Preprocessing):
            return self.preprocessing
        raise ValueError(f"{self.name}: takes tokens; expected a net that takes images")

    @property
    def artifact_hash(self) -> str:
        """Identifies the numbers of a net and the subnets cut from it; latency tables belong to
        one.

        Of the design space only what is no default counts: a field that joins it later changes
        no hash.
        """
        space = self.design_space.model_dump_json(exclude_defaults=True, exclude={"name"})
        content = f"{self.weights_sha256}{self.norm_sha256}{space}"
        return hashlib.sha256(content.encode()).hexdigest()[:32]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        skeleton = self.design_space.skeleton
        _check_preprocessing(self.preprocessing, skeleton.inputs)
        if len(self.labels) != skeleton.classes:
            raise ValueError(f"labels: expected {skeleton.classes}, got {len(self.labels)}")
        for subnet in self.catalog.subnets():
            self.design_space.check(Architecture.parse(subnet))
        return self


_MADE = {"image": "images: mean and std", "tokens": "tokens: alphabet"}


def _check_preprocessing(given: AnyPreprocessing, inputs: Inputs) -> None:
    """Raise `ValueError` where it does not make what the net takes."""
    if isinstance(given, TextPreprocessing) != (inputs.kind == "tokens"):
        raise ValueError(f"preprocessing: expected that of {_MADE[inputs.kind]}")
    if isinstance(given, TextPreprocessing):
        if len(given.alphabet) >= inputs.vocabulary:
            raise ValueError(f"preprocessing.alphabet: expected fewer than {inputs.vocabulary}")
        return
    for field in ("mean", "std"):
        count = len(getattr(given, field))
        if count != inputs.channels:
            expected = f"expected {inputs.channels} values, got {count}"
            raise ValueError(f"preprocessing.{field}: {expected}")


def read_part(folder: Path, name: str, sha256: str) -> bytes:
    """A file of an artifact. Raises `ArtifactError` where it is not the one the manifest names."""
    try:
        data = (folder / name).read_bytes()
    except OSError as error:
        raise ArtifactError(f"artifact {folder}: {name}: {error.strerror}") from None
    if hashlib.sha256(data).hexdigest() != sha256:
        raise ArtifactError(
            f"artifact {folder}: {name} is truncated or changed: its SHA-256 is not the one in "
            f"{MANIFEST_FILE}"
        )
    return data


def check_parts(folder: Path, manifest: Manifest) -> None:
    """Raise `ArtifactError` where weights or normalisation are not those the manifest names."""
    read_part(folder, WEIGHTS_FILE, manifest.weights_sha256)
    read_part(folder, NORM_FILE, manifest.norm_sha256)


def read_manifest(folder: Path) -> Manifest:
    """The manifest of an artifact folder. Raises `ArtifactError` in one line."""
    path = folder / MANIFEST_FILE
    if not folder.is_dir():
        raise ArtifactError(f"artifact {folder}: expected a folder with {MANIFEST_FILE}")
    try:
        text = path.read_text(encoding="utf-8")
        version = json.loads(text).get("schema_version")
    except OSError as error:
        raise ArtifactError(f"artifact {folder}: {MANIFEST_FILE}: {error.strerror}") from None
    except (ValueError, AttributeError, RecursionError):
        raise ArtifactError(
            f"artifact {folder}: {MANIFEST_FILE} is not a JSON document; it may be truncated"
        ) from None
    if version != SCHEMA_VERSION:
        raise ArtifactError(
            f"artifact {folder}: schema_version {version!r}: this version reads {SCHEMA_VERSION}"
        )
    try:
        return Manifest.model_validate_json(text)
    except ValidationError as error:
        raise ArtifactError(f"artifact {folder}: {first_error(error)}") from None
