"""How far what a runtime makes of a file is from the subnet itself, on images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from supernet import shipped
from supernet.manifest import Manifest, Preprocessing
from training.exports.formats import Runtime
from training.images.augment import Transform
from training.images.memory import Images

TOLERANCE = 1e-4  # of logits up to 10, as trained nets have them; in proportion above
BATCH_SIZES = (1, 8)  # at which an export is compared


def check_inputs(manifest: Manifest, resolution: int) -> tuple[Tensor, str]:
    """Eight inputs as the net takes them, and in words what they are.

    Real images where the package has some of this net's kind, else seeded noise over the
    whole range of pixels, or seeded tokens.
    """
    count, inputs = max(BATCH_SIZES), manifest.design_space.skeleton.inputs
    shape, generator = (count, *inputs.shape(resolution)), torch.Generator().manual_seed(0)
    if not isinstance(manifest.preprocessing, Preprocessing):
        tokens = torch.randint(inputs.vocabulary, shape, generator=generator)
        return tokens, f"{count} seeded rows of tokens"
    if fits_shipped(manifest):
        source = f"{count} Fashion-MNIST images"
        pixels = read_shipped(manifest, 0, count).pixels
    else:
        source = f"{count} images of seeded noise"
        pixels = torch.randint(256, shape, generator=generator, dtype=torch.uint8)
    images = Transform(manifest.preprocessing)(pixels, resolution)
    return channels_first(images), source


def fits_shipped(manifest: Manifest) -> bool:
    """Whether the images that ship are of a net's kind."""
    labels = {label for _, label in shipped.images()}
    return manifest.design_space.skeleton.inputs.channels == 1 and set(manifest.labels) == labels


def read_shipped(manifest: Manifest, first: int, last: int | None) -> Images:
    """Shipped images from place `first` to before `last`, labelled as the net's labels go."""
    files = shipped.images()[first:last]
    pixels = torch.stack([_grayscale(path) for path, _ in files])
    return Images(pixels, torch.tensor([manifest.labels.index(label) for _, label in files]))


def channels_first(images: Tensor) -> Tensor:
    """Images [B, C, H, W] in that order in memory: exporters write how they lie into the graph,
    and runtimes take no other."""
    return images.clone(memory_format=torch.contiguous_format)


def max_difference(runtime: Runtime, subnet: nn.Module, x: Tensor) -> float:
    """The largest difference of any logit, over all of `BATCH_SIZES`, for logits scaled down to
    10 where the subnet's are larger; infinite for a wrong shape, NaN where one has NaN."""
    worst = torch.zeros(())
    for batch in (x[:size] for size in BATCH_SIZES):
        logits, expected = runtime(batch), subnet(batch)
        if logits.shape != expected.shape:
            return float("inf")
        scale = (expected.abs().max() / 10).clamp(min=1.0)
        worst = torch.maximum(worst, ((logits - expected) / scale).abs().max())
    return float(worst)


def check_difference(what: str, difference: float) -> None:
    """Raise `ValueError` where `what`, named so, is further from the subnet than it may be."""
    if not difference <= TOLERANCE:  # also where it is not a number
        raise ValueError(
            f"{what}: its logits differ by {difference:.2g} from the extracted subnet's, "
            f"expected at most {TOLERANCE:g}; nothing was written"
        )


def _grayscale(path: Path) -> Tensor:
    """Pixels [1, H, W] of an image file."""
    with Image.open(path) as image:
        return torch.from_numpy(np.array(image.convert("L")))[None]
