"""Folders of images as people have them: whole, split, odd, and wrong in ways that are said."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from supernet.manifest import Preprocessing
from training.images.data import Dataset, ImageSource
from training.images.file_source import FileLoading, FileSource
from training.images.image_folder import load_image_folder, match_labels

LOADING = FileLoading(Preprocessing(mean=(0.5,) * 3, std=(0.25,) * 3))


def _load(folder: Path, validation_images: int | None = None, **more: object) -> Dataset:
    return load_image_folder(folder, LOADING, validation_images, **more)  # type: ignore[arg-type]


def _paths(source: ImageSource | None) -> list[str]:
    assert isinstance(source, FileSource)
    return [source.files.path(i) for i in range(len(source))]


def test_splits_and_labels_come_from_the_folders_names(image_folder: Path) -> None:
    data = _load(image_folder)
    assert data.labels == ("ant", "bee", "cat")
    assert [len(s) for s in (data.train, data.validation)] == [24, 9]
    assert data.test is None
    assert data.train.labels.tolist() == [0] * 8 + [1] * 8 + [2] * 8
    assert _paths(data.validation)[0] == f"{image_folder}/val/ant/00.png"
    shutil.copytree(image_folder / "val", image_folder / "test")
    test = _load(image_folder).test
    assert test is not None
    assert len(test) == 9


def test_classes_alone_are_one_split_that_validation_is_held_out_of(image_folder: Path) -> None:
    data = _load(image_folder / "train", validation_images=7)
    assert torch.bincount(data.validation.labels).tolist() == [3, 2, 2]
    both = _paths(data.train) + _paths(data.validation)
    assert len(set(both)) == len(both) == 24
    half = _load(image_folder / "train", train_images=6)
    assert torch.bincount(half.validation.labels).tolist() == [4, 4, 4]
    assert torch.bincount(half.train.labels).tolist() == [2, 2, 2]


def test_a_folder_smaller_than_what_is_held_out_is_halved_and_says_so(
    image_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = _load(image_folder / "train", validation_images=5000)
    assert (len(data.train), len(data.validation)) == (12, 12)
    assert caplog.messages == ["24 images are fewer than the 5000 to hold out: 12 are held out"]


def test_links_are_followed_and_hidden_files_left_out(image_folder: Path, tmp_path: Path) -> None:
    (image_folder / "train" / ".cache").mkdir()
    (image_folder / "train" / "ant" / ".DS_Store").touch()
    (image_folder / "train" / "README").touch()
    (image_folder / "train" / "ant" / "zz.png").symlink_to(image_folder / "val/ant/00.png")
    link = tmp_path / "link"
    link.symlink_to(image_folder)
    paths = _paths(_load(link).train)
    assert len(paths) == 25
    assert paths[8] == f"{link}/train/ant/zz.png"


def test_a_class_may_be_called_train(image_folder: Path) -> None:
    (image_folder / "train" / "bee").rename(image_folder / "train" / "train")
    assert _load(image_folder / "train").labels == ("ant", "cat", "train")


Damage = Callable[[Path], object]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda root: shutil.rmtree(root), "there is no such folder"),
        (lambda root: shutil.rmtree(root / "train"), r"train/ is missing; .*/val$"),
        (lambda root: _empty(root), "expected train/CLASS/"),
        (lambda root: _empty(root / "val" / "bee"), "class folder .*val/bee: no images"),
        (
            lambda root: (root / "val" / "bee").rename(root / "val" / "bea"),
            "classes of val/ are not those of train/: missing bee; unexpected bea",
        ),
        (lambda root: (root / "train" / "cat" / "x").mkdir(), "train/cat/x: a folder in a class"),
        (
            lambda root: (root / "train" / "cat" / "x").symlink_to("x"),
            "train/cat/x: not a file",
        ),
        (
            lambda root: (root / "train" / "cat" / "x").symlink_to("nowhere"),
            "train/cat/x: not a file",
        ),
    ],
)
def test_what_is_wrong_is_named(image_folder: Path, damage: Damage, message: str) -> None:
    damage(image_folder)
    with pytest.raises(ValueError, match=message):
        _load(image_folder)


def _empty(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def test_classes_take_the_order_of_a_nets_labels(image_folder: Path) -> None:
    data = _load(image_folder, labels=("cat", "ant", "bee"))
    assert data.labels == ("cat", "ant", "bee")
    assert _paths(data.train)[0].endswith("train/cat/00.png")
    assert data.train.labels[0] == 0


def test_numbered_labels_take_the_sorted_folders() -> None:
    folder = Path("data")
    assert match_labels(folder, ["n1", "n2"], ("0", "1")) == ["n1", "n2"]
    assert match_labels(folder, ["0", "1", "10", "2"], ("0", "1", "2", "10"))[3] == "10"
    with pytest.raises(ValueError, match="2 classes: the net has 3"):
        match_labels(folder, ["n1", "n2"], ("0", "1", "2"))
    with pytest.raises(ValueError, match=r"not the net's: missing c; unexpected d, e$"):
        match_labels(folder, ["a", "d", "e"], ("a", "c"))
