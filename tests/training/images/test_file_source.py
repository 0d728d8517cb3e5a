"""Streaming image files: the same batches however they are loaded, and nothing left behind."""

from __future__ import annotations

import collections
import logging
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from supernet.manifest import Preprocessing
from training.images.augmentation import Augmentation
from training.images.data import Batch, BatchPlan
from training.images.file_source import FileLoading, FileSource
from training.images.image_file import UnreadableImageError
from training.images.image_folder import load_image_folder

LOADING = FileLoading(Preprocessing(mean=(0.5,) * 3, std=(0.25,) * 3, centre_crop=0.875))


@pytest.fixture
def source(image_folder: Path) -> FileSource:
    return _source(image_folder)


def _source(folder: Path, loading: FileLoading = LOADING) -> FileSource:
    train = load_image_folder(folder, loading, validation_images=None).train
    assert isinstance(train, FileSource)
    return train


def _plans(count: int = 6, size: int = 4, images: int = 24) -> list[BatchPlan]:
    indices = torch.arange(count * size).view(count, size) * 7 % images
    return [BatchPlan(row, 16 + 8 * (i % 2), seed=i) for i, row in enumerate(indices)]


def _assert_same(a: list[Batch], b: list[Batch]) -> None:
    for one, other in zip(a, b, strict=True):
        assert torch.equal(one.x, other.x)
        assert torch.equal(one.labels, other.labels)


def test_workers_change_nothing_and_a_resumed_run_draws_the_same(source: FileSource) -> None:
    plans = _plans()
    here = list(source.batches(plans))
    there = replace(source, loading=replace(LOADING, num_workers=2))
    _assert_same(here, list(there.batches(plans)))
    _assert_same(here[4:], list(source.batches(plans[4:])))
    assert [tuple(b.x.shape[1:]) for b in here[:2]] == [(3, 16, 16), (3, 24, 24)]
    assert all(b.x.is_contiguous(memory_format=torch.channels_last) for b in here)
    assert all(
        torch.equal(b.labels, source.labels[p.indices]) for b, p in zip(here, plans, strict=True)
    )


def test_draws_follow_the_seed_and_the_place_in_the_batch(source: FileSource) -> None:
    def drawn(indices: list[int], seed: int | None) -> Tensor:
        (batch,) = source.batches([BatchPlan(torch.tensor(indices), 16, seed)])
        return batch.x

    same_image = drawn([3, 3], 5)
    assert not torch.equal(same_image[0], same_image[1]), "each place draws for itself"
    assert torch.equal(drawn([3, 4], 5)[0], same_image[0])
    assert not torch.equal(drawn([3, 4], 6)[0], same_image[0])
    plain = drawn([3, 3], None)
    assert torch.equal(plain[0], plain[1])


def test_without_a_seed_the_centre_is_taken(source: FileSource) -> None:
    """The images' outer frame is white; seven eighths of the shorter side leave it out."""
    (batch,) = source.batches([BatchPlan(torch.arange(24), 28)])
    assert batch.x.max() < 1.2
    stretched = replace(LOADING, preprocessing=Preprocessing(mean=(0.5,) * 3, std=(0.25,) * 3))
    (whole,) = replace(source, loading=stretched).batches([BatchPlan(torch.arange(24), 32)])
    assert whole.x[..., 0, 0].min() > 1.2, "all of it, corners too"


def test_colour_jitter_changes_colours_only(source: FileSource) -> None:
    plan = BatchPlan(torch.arange(8), 16, seed=1)
    (plain,) = source.batches([plan])
    (jittered,) = _varied(source, Augmentation(colour_jitter=True)).batches([plan])
    changed = (plain.x - jittered.x).flatten(1).abs().amax(1)
    assert (changed > 0).all()
    assert changed.max() < 2.5


def test_nothing_is_mirrored_that_must_not_be(source: FileSource) -> None:
    plan = BatchPlan(torch.arange(24), 16, seed=1)
    (plain,) = _varied(source, Augmentation(mirror=False)).batches([plan])
    (mirrored,) = source.batches([plan])
    turned = [torch.equal(a, b.flip(2)) for a, b in zip(mirrored.x, plain.x, strict=True)]
    same = [torch.equal(a, b) for a, b in zip(mirrored.x, plain.x, strict=True)]
    assert 4 < sum(turned) < 20
    assert all(a != b for a, b in zip(turned, same, strict=True))


def _varied(source: FileSource, how: Augmentation) -> FileSource:
    return replace(source, loading=replace(source.loading, augmentation=how))


@pytest.fixture
def damaged(image_folder: Path) -> Path:
    """The third and fourth image of the first class are no images."""
    first = sorted((image_folder / "train" / "ant").iterdir())
    first[2].write_text("not an image")
    first[3].write_bytes(first[3].read_bytes()[:-200])
    return image_folder


@pytest.mark.parametrize("num_workers", [0, 2])
def test_refusing_names_the_file_and_why(damaged: Path, num_workers: int) -> None:
    source = _source(damaged, replace(LOADING, num_workers=num_workers))
    with pytest.raises(UnreadableImageError, match=r"train/ant/02\.\w+: not an image") as error:
        list(source.batches(_plans()))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_skipping_names_each_file_once_and_takes_the_next(
    damaged: Path, num_workers: int, caplog: pytest.LogCaptureFixture
) -> None:
    source = _source(damaged, replace(LOADING, unreadable="skip", num_workers=num_workers))
    with caplog.at_level(logging.WARNING):
        plan = BatchPlan(torch.tensor([2, 3, 4, 1]), 16)
        batches = list(source.batches([plan] * 3))
    assert all(torch.equal(b.x[0], b.x[2]) and torch.equal(b.x[1], b.x[2]) for b in batches)
    assert sorted(Path(path).stem for path in source.unreadable) == ["02", "03"]
    assert len(caplog.messages) == 2
    assert "skipped image file" in caplog.messages[0]


def test_a_replacement_brings_its_own_label(image_folder: Path) -> None:
    last = sorted((image_folder / "train" / "ant").iterdir())[-1]
    last.write_text("not an image")
    source = _source(image_folder, replace(LOADING, unreadable="skip"))
    (batch,) = source.batches([BatchPlan(torch.tensor([7, 23]), 16)])
    assert batch.labels.tolist() == [1, 2]


def test_nothing_readable_is_an_error(image_folder: Path) -> None:
    for path in (image_folder / "train").glob("*/*"):
        path.write_text("not an image")
    source = _source(image_folder, replace(LOADING, unreadable="skip"))
    with pytest.raises(UnreadableImageError, match="so were the 23 files before it"):
        next(source.batches(_plans()))


def test_dropping_the_iterator_ends_the_workers(source: FileSource) -> None:
    before = set(multiprocessing.active_children())  # other tests' helpers
    batches = replace(source, loading=replace(LOADING, num_workers=2)).batches(_plans(count=50))
    next(batches)
    assert len(set(multiprocessing.active_children()) - before) == 2
    del batches
    assert set(multiprocessing.active_children()) <= before


def test_a_worker_that_dies_is_an_error_and_no_hang(source: FileSource) -> None:
    before = set(multiprocessing.active_children())  # other tests' helpers
    batches = replace(source, loading=replace(LOADING, num_workers=2)).batches(_endless())
    next(batches)
    workers = list(set(multiprocessing.active_children()) - before)
    time.sleep(0.5)  # until they wait for work: one killed at the wrong moment keeps torch's lock
    assert workers[0].pid is not None
    os.kill(workers[0].pid, signal.SIGKILL)
    with pytest.raises(ChildProcessError, match="worker process that loads images ended") as error:
        collections.deque(batches, maxlen=0)
    assert "\n" not in str(error.value)
    for worker in workers:
        worker.join(timeout=10)
    assert set(multiprocessing.active_children()) <= before


def _endless() -> Iterator[BatchPlan]:
    while True:
        yield from _plans()
