"""Images in memory: batches are what their plans say, and nothing else decides them."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from supernet.manifest import Preprocessing
from training.images.augment import Transform, crop_and_flip
from training.images.augmentation import Augmentation
from training.images.data import BatchPlan
from training.images.memory import Images, MemorySource

TRANSFORM = Transform(Preprocessing(mean=(0.2,), std=(0.3,)))


def test_training_batch_is_a_crop_drawn_from_the_plans_seed(images: Images) -> None:
    """The order of draws is fixed: a run that began earlier goes on with the same images."""
    how = Augmentation(crop_padding=2)
    source = MemorySource(images, TRANSFORM, how)
    indices = torch.tensor([7, 3, 3, 199])
    (batch,) = source.batches([BatchPlan(indices, 12, seed=5)])
    generator = torch.Generator().manual_seed(5)
    expected = TRANSFORM(crop_and_flip(images.pixels[indices], how, generator), 12)
    assert torch.equal(batch.x, expected)
    assert batch.labels.tolist() == images.labels[indices].tolist()
    assert batch.x.is_contiguous(memory_format=torch.channels_last)


def test_without_a_seed_images_are_as_they_are(images: Images) -> None:
    source = MemorySource(images, TRANSFORM, Augmentation(crop_padding=2))
    (batch,) = source.batches([BatchPlan(torch.arange(5), 16)])
    assert torch.equal(batch.x, TRANSFORM(images.pixels[:5], 16))


@given(seeds=st.lists(st.integers(0, 2**63 - 1), min_size=2, max_size=4), start=st.integers(0, 3))
def test_a_plan_gives_the_same_batch_wherever_it_stands(seeds: list[int], start: int) -> None:
    images = Images(torch.arange(256, dtype=torch.uint8).reshape(4, 1, 8, 8), torch.arange(4))
    source = MemorySource(images, TRANSFORM, Augmentation(crop_padding=3))
    plans = [BatchPlan(torch.tensor([i % 4, 0]), 8, seed) for i, seed in enumerate(seeds)]
    whole = list(source.batches(plans))
    resumed = list(source.batches(plans[start:]))
    assert all(torch.equal(a.x, b.x) for a, b in zip(whole[start:], resumed, strict=True))
