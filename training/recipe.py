"""A training recipe: typed, validated, frozen, read from TOML. It has no code of its own."""

from __future__ import annotations

import hashlib
import json
import tomllib
from importlib import resources
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from supernet.design_space import DesignSpace
from supernet.presets import design_space
from supernet.validation import file_name, first_error
from training.images.augmentation import Augmentation

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
Pick = Literal["largest", "smallest", "random"]
START: Final = "start"


Name = Annotated[str, AfterValidator(file_name)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Phase(_Frozen):
    """One stretch of training with its own subnets and learning rate."""

    name: Name
    epochs: Annotated[float, Field(gt=0.0, le=1e6)]
    """Passes over the training images; may be a fraction."""
    learning_rate: Positive
    """The peak, reached after `warmup`."""
    final_learning_rate: Annotated[float, Field(ge=0.0)] = 0.0
    """Where `decay` ends; the next phase may go on from there, as if it were the same one."""
    decay: Literal["cosine", "linear"] = "cosine"
    warmup: Fraction = 0.1
    """Share of the phase's steps in which the rate rises from zero."""
    subnets: tuple[Pick, ...] = Field(min_length=1)
    """What is trained in each step; the losses are summed."""
    ramp: Fraction = 0.0
    """Share of the phase's steps in which the loss of all but the first subnet grows from
    nothing to its full weight."""
    micro_batches: Annotated[int, Field(ge=1)] = 1
    """Parts a batch is cut into, each normalised by its own statistics while the net has batch
    norm; their gradients are averaged. They run side by side on threads, and on processes under
    torchrun; one thread runs them one after another, which is gradient accumulation."""
    share_prefix: bool = False
    """Run the units that a step's subnets begin with in common only once. The same gradients for
    less work; keeps the whole step's activations in memory."""
    design_space: str | None = None
    """A space on the same skeleton for this phase; the recipe's by default."""
    depths: tuple[int, ...] = ()
    """Depths that 'random' chooses from; empty means all of the design space."""
    kernels: tuple[int, ...] = ()
    """The same for kernels, where they are free."""
    expand_ratios: tuple[int, ...] = ()
    """The same for expand ratios, where they are free."""
    resolutions: tuple[Annotated[int, Field(ge=1)], ...] = ()
    """Pixels, one drawn for each step; the recipe's `train_resolutions` by default."""
    distillation: Annotated[float, Field(ge=0.0)] = 0.0
    """Weight of the soft labels."""
    label_weight: Annotated[float, Field(ge=0.0)] = 1.0
    """Weight of the true labels, for subnets that are taught."""
    distill_from: Literal["teacher", "first"] = "teacher"
    """Who teaches: the recipe's teacher, or in each step its first subnet (in-place)."""
    divergence: Literal["cross-entropy", "alpha"] = "cross-entropy"
    """How far a subnet is from its teacher: soft cross-entropy, or AlphaNet's adaptive one."""
    ema: Annotated[float, Field(gt=0.0, lt=1.0)] | None = None
    """Decay a step of a moving average of the weights, which the phase leaves as its result."""
    normalization: Literal["batch", "piece-affine"] = "batch"
    """'piece-affine' makes this a fold phase: each piece keeps one affine of its own."""
    muon: bool = True
    """Whether the recipe's Muon, if it has one, trains the matrices in this phase."""
    sort_channels: bool = False
    """Sort channels by importance before the phase, so that slicing keeps the best."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        named = f"phase {self.name!r}:"
        if self.final_learning_rate > self.learning_rate:
            raise ValueError(f"{named} final_learning_rate: expected at most {self.learning_rate}")
        if self.distill_from == "first" and self.subnets[0] != "largest":
            raise ValueError(f"{named} subnets: the one that teaches in place is 'largest', first")
        if not (self.distillation or self.label_weight):
            raise ValueError(f"{named} distillation: with label_weight 0 nothing would be learnt")
        return self

    def check_on_folded_net(self) -> None:
        """Raise `ValueError` where the phase needs a net that is not folded yet."""
        if self.sort_channels:
            raise ValueError(f"phase {self.name!r}: sort_channels: the net is already folded")
        if self.normalization == "batch":
            raise ValueError(f"phase {self.name!r}: normalization: the net is already folded")


class Muon(_Frozen):
    """How the matrices of expanding and projecting layers are trained (`training.muon`)."""

    learning_rate: Positive
    """As a share of that at the step."""
    weight_decay: Annotated[float, Field(ge=0.0)] = 0.0
    """In each step the weights lose this share of themselves, times the matrices' rate."""
    iterations: Annotated[int, Field(ge=1, le=20)] = 5
    """Of Newton and Schulz, which make an update orthogonal; fewer are cheaper and rougher."""


class Recipe(_Frozen):
    """Everything that decides a training run besides the images themselves."""

    name: Name
    design_space: str | None = None
    """A preset; a recipe without one starts from an artifact, on that artifact's space."""
    dataset: Literal["fashion-mnist", "image-folder", "words"] | None = None
    """What the images must come as; by default whatever `--data` is found to be."""
    seed: Annotated[int, Field(ge=0)] = 0
    batch_size: Annotated[int, Field(ge=2)]
    validation_images: Annotated[int, Field(ge=1)]
    """Held out of the training images, evenly over the classes, for the catalog's accuracy,
    where the data set has no such split of its own."""
    train_images: Annotated[int, Field(ge=1)] | None = None
    """Use only so many of the training images; all that are not held out by default."""
    evaluation_images: Annotated[int, Field(ge=1)] | None = None
    """Evaluate on only so many images of each held-out split; all by default."""
    profile: bool = True
    """Measure the latency of every subnet on this CPU at the end."""
    mean: tuple[float, ...] = ()
    std: tuple[Positive, ...] = ()
    """Of the pixels in [0, 1], one a channel; empty means the starting artifact's."""
    centre_crop: Annotated[float, Field(gt=0.0, le=1.0)] | None = None
    """The share of an image file's shorter side that is taken for evaluation and serving; the
    whole image, stretched, by default."""
    momentum: Fraction = 0.9
    weight_decay: Annotated[float, Field(ge=0.0)] = 3e-5
    """On weights only, never on biases and normalisation."""
    muon: Muon | None = None
    """Trains the matrices; SGD does where there is none, and always the rest."""
    label_smoothing: Fraction = 0.1
    losses: Literal["mean", "sum"] = "mean"
    """How the loss of true labels and that of soft ones are put together; 'sum' is what the
    published learning rates of Once-for-All and CompOFA go with."""
    train_resolutions: tuple[Annotated[int, Field(ge=1)], ...] = ()
    """Pixels, one drawn for each step; the design space's own by default."""
    clip_norm: Positive | None = None
    """Largest gradient norm of a step; absent means no clipping."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of forward and backward; weights, gradients and optimizer stay in float32."""
    compile: bool = False
    """Compile the forward with torch.compile, a graph for each architecture met."""
    crop_padding: Annotated[int, Field(ge=0, le=64)] = 2
    """Pixels of zero padding a random crop may shift into (Fashion-MNIST)."""
    min_scale: Annotated[float, Field(gt=0.0, le=1.0)] = 0.08
    """Smallest part of an image's area that a random crop takes (image folders)."""
    mirror: bool = True
    """Mirror half of the training images; not for what has a left and a right, such as text."""
    colour_jitter: bool = False
    """Change brightness and saturation at random (image folders)."""
    unreadable_images: Literal["refuse", "skip"] = "refuse"
    """What to do about a file that cannot be decoded (image folders)."""
    teacher: str | None = None
    """The phase whose result teaches the phases after it; 'start': the artifact the run begins
    with teaches, as it came."""
    new_classifier: bool = False
    """Begin with an untrained last layer for the classes of the images (with an artifact)."""
    checkpoint_steps: Annotated[int, Field(ge=1)] = 200
    phases: tuple[Phase, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _phases_follow(self) -> Self:
        names = [phase.name for phase in self.phases]
        if len(set(names)) != len(names):
            raise ValueError(f"phases: expected different names, got {names}")
        starts = [START] if self.design_space is None else []
        if self.teacher is not None and self.teacher not in names + starts:
            raise ValueError(f"teacher: expected one of the phases {names}, got {self.teacher!r}")
        if self.new_classifier and self.teacher == START:
            raise ValueError("new_classifier: the artifact cannot teach classes it does not know")
        for i, phase in enumerate(self.phases):
            wants_teacher = phase.distillation and phase.distill_from == "teacher"
            if wants_teacher and self.teacher not in names[:i] + starts:
                raise ValueError(f"phase {phase.name!r}: distillation: no teacher before it")
            if self.batch_size % phase.micro_batches:
                raise ValueError(
                    f"phase {phase.name!r}: micro_batches: expected a divisor of the batch size "
                    f"{self.batch_size}, got {phase.micro_batches}"
                )
            if self.batch_size == phase.micro_batches and phase.normalization == "batch":
                raise ValueError(
                    f"phase {phase.name!r}: micro_batches: expected at least 2 images in each, to "
                    "be normalised by their own statistics"
                )
            if self.compile and phase.share_prefix:
                raise ValueError(f"phase {phase.name!r}: share_prefix: cannot be compiled")
            folded_before = any(p.normalization == "piece-affine" for p in self.phases[:i])
            if folded_before:
                phase.check_on_folded_net()
        return self

    @model_validator(mode="after")
    def _fits_the_space(self) -> Self:
        if self.design_space is not None:
            self.check_space(design_space(self.design_space))
            images = design_space(self.design_space).skeleton.inputs.kind == "image"
            if images and not (self.mean and self.std):
                raise ValueError("mean, std: expected a value for each channel of the images")
            if self.dataset is not None and images == (self.dataset == "words"):
                inputs = "images" if images else "text"
                raise ValueError(
                    f"dataset: expected {inputs}, which the design_space {self.design_space!r} "
                    f"takes, got {self.dataset!r}"
                )
        if bool(self.mean) != bool(self.std):
            raise ValueError("mean, std: expected both or none of them")
        return self

    def check_space(self, space: DesignSpace) -> None:
        """Raise `ValueError` where a phase asks for what is not in `space`, the run's own."""
        for field in ("mean", "std"):
            given, channels = len(getattr(self, field)), space.skeleton.inputs.channels
            if given not in (0, channels):
                raise ValueError(f"{field}: expected {channels} value(s), got {given}")
        for phase in self.phases:
            its = design_space(phase.design_space) if phase.design_space else space
            classes = {"classes": space.skeleton.classes}  # of the images, not of the preset
            if its.skeleton.model_copy(update=classes) != space.skeleton:
                raise ValueError(
                    f"phase {phase.name!r}: design_space {its.name!r} is on another skeleton than "
                    f"{space.name!r}"
                )
            allowed: set[int] = {size for sizes in its.kernels for size in sizes}
            _check_among(phase, "depths", set(its.depths))
            _check_among(phase, "kernels", allowed)
            _check_among(phase, "expand_ratios", set(its.expand_ratios))

    def until(self, phase: str) -> Recipe:
        """The recipe without the phases after `phase`. `ValueError` where there is none such."""
        names = [each.name for each in self.phases]
        if phase not in names:
            raise ValueError(f"recipe {self.name}: phase {phase!r}: expected one of {names}")
        return self.model_copy(update={"phases": self.phases[: names.index(phase) + 1]})

    def muon_of(self, phase: Phase) -> Muon | None:
        """What trains the matrices in a phase; None where SGD does."""
        return self.muon if phase.muon else None

    @property
    def augmentation(self) -> Augmentation:
        return Augmentation(self.crop_padding, self.min_scale, self.mirror, self.colour_jitter)

    @property
    def sha256(self) -> str:
        """Of all but the seed: runs of one recipe have one."""
        fields = self.model_dump_json(exclude_defaults=True, exclude={"seed"})
        return hashlib.sha256(fields.encode()).hexdigest()


def _check_among(phase: Phase, field: str, allowed: set[int]) -> None:
    given = getattr(phase, field)
    if not set(given) <= allowed:
        raise ValueError(
            f"phase {phase.name!r}: {field}: expected some of {sorted(allowed)}, got {list(given)}"
        )


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
        fields = json.dumps(tomllib.loads(text), default=str)
        return Recipe.model_validate_json(fields, strict=True)
    except RecursionError:
        raise ValueError(f"recipe {recipe}: not TOML: nested too deeply") from None
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"recipe {recipe}: not TOML: {error}") from None
    except ValidationError as error:
        raise ValueError(f"recipe {recipe}: {first_error(error)}") from None


def _read_file(recipe: str) -> str:
    try:
        return Path(recipe).read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not a text file"
        shipped = ", ".join(shipped_recipes())
        raise ValueError(f"recipe {recipe}: {reason}; shipped recipes: {shipped}") from None
