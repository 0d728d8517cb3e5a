"""What the training tests share: small synthetic images that a net can learn, and recipes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from supernet import presets
from supernet.design_space import DesignSpace
from training.images.memory import Images
from training.recipe import Recipe

MakeRecipe = Callable[..., Recipe]


@pytest.fixture
def tiny_preset(space: DesignSpace, monkeypatch: pytest.MonkeyPatch) -> str:
    """The tiny space under a preset's name, so that a recipe can ask for it."""
    monkeypatch.setitem(presets.PRESETS, "tiny", lambda: space)
    return "tiny"


@pytest.fixture(scope="session")
def images() -> Images:
    """200 images of 16x16 in ten classes; a class is a bright row, the same when mirrored."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(200) % 10
    pixels = torch.randint(0, 60, (200, 1, 16, 16), generator=generator, dtype=torch.uint8)
    pixels[torch.arange(200), 0, labels + 3] = 250
    return Images(pixels, labels)


@pytest.fixture
def make_recipe(tiny_preset: str) -> MakeRecipe:
    """A recipe with all three kinds of phase, a few steps each; keywords replace its fields."""

    def make(**changes: Any) -> Recipe:
        fields: dict[str, Any] = {
            "name": "tiny",
            "design_space": tiny_preset,
            "dataset": "fashion-mnist",
            "batch_size": 20,
            "validation_images": 10,
            "mean": (0.2,),
            "std": (0.3,),
            "crop_padding": 0,
            "teacher": "teacher",
            "checkpoint_steps": 3,
            "phases": (
                {"name": "teacher", "epochs": 0.5, "learning_rate": 0.1, "subnets": ("largest",)},
                {
                    "name": "compound",
                    "epochs": 0.5,
                    "learning_rate": 0.02,
                    "micro_batches": 2,
                    "subnets": ("random", "random"),
                    "depths": (3, 4),
                    "distillation": 1.0,
                    "sort_channels": True,
                },
                {
                    "name": "fold",
                    "epochs": 0.5,
                    "learning_rate": 0.005,
                    "subnets": ("largest", "smallest", "random"),
                    "distillation": 1.0,
                    "normalization": "piece-affine",
                },
            ),
        }
        return Recipe.model_validate(fields | changes)

    return make


@pytest.fixture
def image_folder(tmp_path: Path) -> Path:
    """8 training and 3 validation images in each of three classes, `ant`, `bee` and `cat`.

    Each class is mostly one colour, noisy, in a white frame; sizes and formats differ.
    """
    rng = np.random.default_rng(0)
    for split, count in (("train", 8), ("val", 3)):
        for label, name in enumerate(("ant", "bee", "cat")):
            folder = tmp_path / "images" / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                height, width = 40 + 4 * (i % 3), 40 + 8 * (i % 2)
                pixels = np.full((height, width, 3), 255, np.uint8)
                inside = rng.integers(0, 80, (height - 2, width - 2, 3))
                inside[..., label] += 120
                pixels[1:-1, 1:-1] = inside
                path = folder / f"{i:02}.{'jpg' if i % 4 == 1 else 'png'}"
                Image.fromarray(pixels).save(path, quality=95)
    return tmp_path / "images"
