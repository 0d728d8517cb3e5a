"""What a file says of itself: enough to feed it, and to tell where it is from."""

from __future__ import annotations

from supernet.architecture import Architecture
from supernet.catalog import Int8Accuracy
from supernet.manifest import Manifest, Preprocessing
from supernet.version import version
from training.exports.formats import Metadata


def describe(manifest: Manifest, arch: Architecture, int8: Int8Accuracy | None = None) -> Metadata:
    """Of one subnet. Where it was made INT8 its accuracy is the one measured so, and is told
    beside the float one on the same images."""
    metadata = describe_net(manifest)
    size = "resolution" if isinstance(manifest.preprocessing, Preprocessing) else "tokens"
    metadata["preprocessing"][size] = arch.resolution
    metadata["subnet"] = arch.id
    metadata["precision"] = "float32" if int8 is None else "int8"
    if int8 is not None:
        metadata["expected_accuracy"] = int8.accuracy
        metadata["float_accuracy"] = int8.float_accuracy
        metadata["accuracies_of"] = f"{int8.images} images, {int8.split}"
    elif arch.id in manifest.catalog:
        metadata["expected_accuracy"] = manifest.catalog[arch.id].accuracy
    return metadata


def describe_net(manifest: Manifest) -> Metadata:
    """What is the same for all subnets of a net."""
    given = manifest.preprocessing
    channels = manifest.design_space.skeleton.inputs.channels
    words = _of_images(given, channels) if isinstance(given, Preprocessing) else _OF_TEXT
    return {
        "artifact": manifest.name,
        "artifact_hash": manifest.artifact_hash,
        "compofa_version": version(),
        "labels": list(manifest.labels),
        "preprocessing": {**words, **given.model_dump(mode="json", exclude_none=True)},
    }


_OF_TEXT = {"tokens are": "places in the alphabet, from 1; 0 for other letters and for none"}


def _of_images(given: Preprocessing, channels: int) -> dict[str, str]:
    crop = given.centre_crop
    part = f"the centred square with {crop} of the shorter side" if crop else "the whole image"
    return {
        "colour": {1: "grayscale", 3: "RGB"}.get(channels, f"{channels} channels"),
        "resize": f"{part} to resolution x resolution, bilinear, antialiased",
        "scale": "pixels to [0, 1], then minus mean, divided by std",
    }
