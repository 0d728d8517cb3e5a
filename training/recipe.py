"""A training recipe: typed, validated, frozen, read from TOML. It has no code of its own."""

from __future__ import annotations

import hashlib
import tomllib
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from supernet.presets import design_space
from supernet.validation import first_error

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Pick = Literal["largest", "smallest", "random"]

_CHANNELS_AND_CLASSES = {"fashion-mnist": (1, 10)}  # of the images, by data set


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Phase(_Frozen):
    """One stretch of training with its own subnets and learning rate."""

    name: str
    epochs: Annotated[float, Field(gt=0.0)]
    """Passes over the training images; may be a fraction."""
    learning_rate: Annotated[float, Field(gt=0.0)]
    """The peak, reached after `warmup` and then lowered to zero along a cosine."""
    warmup: Fraction = 0.1
    """Share of the phase's steps in which the rate rises from zero."""
    subnets: tuple[Pick, ...] = Field(min_length=1)
    """What is trained in each step; the losses are summed."""
    micro_batches: Annotated[int, Field(ge=1)] = 1
    """Parts a batch is cut into, each normalised by its own statistics while the net has batch
    norm; they run side by side."""
    depths: tuple[int, ...] = ()
    """Depths that 'random' chooses from; empty means all of the design space."""
    distillation: Annotated[float, Field(ge=0.0)] = 0.0
    """Weight of the teacher's soft labels beside the true labels' weight of 1."""
    normalization: Literal["batch", "piece-affine"] = "batch"
    """'piece-affine' makes this a fold phase: each piece keeps one affine of its own."""
    sort_channels: bool = False
    """Sort channels by importance before the phase, so that slicing keeps the best."""


class Recipe(_Frozen):
    """Everything that decides a training run besides the images themselves."""

    name: str
    design_space: str
    dataset: Literal["fashion-mnist"]
    seed: int = 0
    batch_size: Annotated[int, Field(ge=2)]
    validation_images: Annotated[int, Field(ge=1)]
    """Held out of the training images, evenly over the classes, for the catalog's accuracy."""
    train_images: Annotated[int, Field(ge=1)] | None = None
    """Use only so many of the training images; all that are not held out by default."""
    evaluation_images: Annotated[int, Field(ge=1)] | None = None
    """Evaluate on only so many images of each held-out split; all by default."""
    profile: bool = True
    """Measure the latency of every subnet on this CPU at the end."""
    mean: tuple[float, ...]
    std: tuple[Annotated[float, Field(gt=0.0)], ...]
    momentum: Fraction = 0.9
    weight_decay: Annotated[float, Field(ge=0.0)] = 3e-5
    """On weights only, never on biases and normalisation."""
    label_smoothing: Fraction = 0.1
    clip_norm: Annotated[float, Field(gt=0.0)] | None = None
    """Largest gradient norm of a step; absent means no clipping."""
    crop_padding: Annotated[int, Field(ge=0)] = 2
    """Pixels of zero padding a random crop may shift into."""
    teacher: str | None = None
    """The phase whose result teaches the phases after it."""
    checkpoint_steps: Annotated[int, Field(ge=1)] = 200
    phases: tuple[Phase, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        space = design_space(self.design_space)
        names = [phase.name for phase in self.phases]
        if len(set(names)) != len(names):
            raise ValueError(f"phases: expected different names, got {names}")
        if self.teacher is not None and self.teacher not in names:
            raise ValueError(f"teacher: expected one of the phases {names}, got {self.teacher!r}")
        for i, phase in enumerate(self.phases):
            if not set(phase.depths) <= set(space.depths):
                raise ValueError(f"phase {phase.name!r}: depths: expected some of {space.depths}")
            taught = self.teacher in names[:i]
            if phase.distillation and not taught:
                raise ValueError(f"phase {phase.name!r}: distillation: no teacher before it")
            if self.batch_size % phase.micro_batches:
                raise ValueError(
                    f"phase {phase.name!r}: micro_batches: expected a divisor of the batch size "
                    f"{self.batch_size}, got {phase.micro_batches}"
                )
            folded_before = any(p.normalization == "piece-affine" for p in self.phases[:i])
            if folded_before and phase.normalization == "batch":
                raise ValueError(f"phase {phase.name!r}: normalization: the net is already folded")
        return self

    @model_validator(mode="after")
    def _fits_the_images(self) -> Self:
        skeleton = design_space(self.design_space).skeleton
        channels, classes = _CHANNELS_AND_CLASSES[self.dataset]
        if (skeleton.in_channels, skeleton.classes) != (channels, classes):
            raise ValueError(
                f"design_space {self.design_space!r}: expected one for the {channels} channel and "
                f"{classes} classes of {self.dataset}"
            )
        for field in ("mean", "std"):
            given = len(getattr(self, field))
            if given != channels:
                raise ValueError(f"{field}: expected {channels} value, got {given}")
        return self

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.model_dump_json(exclude_defaults=True).encode()).hexdigest()


def shipped_recipes() -> list[str]:
    """Names of the recipes that come with the package."""
    folder = resources.files("training") / "recipes"
    return sorted(Path(f.name).stem for f in folder.iterdir() if f.name.endswith(".toml"))


def read_recipe(recipe: str) -> Recipe:
    """A recipe by the path of its TOML file or by a shipped name. `ValueError` in one line."""
    if recipe in shipped_recipes():
        text = (resources.files("training") / "recipes" / f"{recipe}.toml").read_text("utf-8")
    else:
        text = _read_file(recipe)
    try:
        return Recipe.model_validate(tomllib.loads(text))
    except RecursionError:
        raise ValueError(f"recipe {recipe}: not TOML: nested too deeply") from None
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"recipe {recipe}: not TOML: {error}") from None
    except ValidationError as error:
        raise ValueError(f"recipe {recipe}: {first_error(error)}") from None


def _read_file(recipe: str) -> str:
    try:
        return Path(recipe).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not a text file"
        shipped = ", ".join(shipped_recipes())
        raise ValueError(f"recipe {recipe}: {reason}; shipped recipes: {shipped}") from None
