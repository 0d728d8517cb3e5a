"""A folder of image files in ImageNet's layout, scanned, checked and split.

`train/CLASS/…`, `val/CLASS/…` and perhaps `test/CLASS/…`; or `CLASS/…` alone, which is one
split. Knows names only: no image is opened here.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

import torch

from training.images.data import Dataset, stratified
from training.images.file_list import FileList
from training.images.file_source import FileLoading, FileSource

_SPLITS = ("train", "val", "test")
_log = logging.getLogger(__name__)


def is_image_folder(folder: Path) -> bool:
    """Whether there is a folder for at least one class."""
    return folder.is_dir() and bool(_folders(folder))


def load_image_folder(
    folder: Path,
    loading: FileLoading,
    validation_images: int | None,
    train_images: int | None = None,
    labels: tuple[str, ...] | None = None,
) -> Dataset:
    """The splits of a folder as sources.

    Where there is no `val/`, `validation_images` are held out of the training images, evenly
    over the classes, half of all where there are not so many or it is None; of the rest
    `train_images` stay. The classes are the folders' names, sorted; with `labels` they are those
    of a net, see `match_labels`.
    Raises `ValueError` that names what is missing, empty, or different between the splits.
    """
    paths = _split_folders(folder)
    names = {split: _folders(path) for split, path in paths.items()}
    _check_same(folder, names)
    classes = names["train"] if labels is None else match_labels(folder, names["train"], labels)
    found = {split: _scan(path, classes, loading) for split, path in paths.items()}
    train, validation = found["train"], found.get("val")
    if validation is None:
        train, validation = _held_out(train, _held_out_count(train, validation_images))
    if train_images is not None:
        train = train.take(stratified(train.labels, train_images, "train_images"))
    return Dataset(
        FileSource(train, loading),
        FileSource(validation, loading),
        FileSource(found["test"], loading) if "test" in found else None,
        labels or tuple(classes),
        train.identity(),
    )


def match_labels(folder: Path, classes: list[str], labels: tuple[str, ...]) -> list[str]:
    """The classes in the order of a net's labels.

    A net whose labels are only numbered, "0" to "N - 1", as an imported one's, takes the N sorted
    folder names in that order. Raises `ValueError` naming what is missing on either side.
    """
    if set(classes) == set(labels):
        return list(labels)
    if numbered(labels, len(classes)):
        return classes
    if numbered(labels, len(labels)):
        raise ValueError(f"data set {folder}: {len(classes)} classes: the net has {len(labels)}")
    raise ValueError(
        f"data set {folder}: its classes are not the net's: {_difference(classes, labels)}"
    )


def numbered(labels: tuple[str, ...], count: int) -> bool:
    """Whether the labels are only "0" to "count - 1"."""
    return labels == tuple(map(str, range(count)))


def _split_folders(folder: Path) -> dict[str, Path]:
    """Where each split lies; a folder that has only classes is all 'train'."""
    if not folder.is_dir():
        raise ValueError(f"data set {folder}: there is no such folder")
    # A class may be called 'train', but holds files and not folders.
    paths = {s: folder / s for s in _SPLITS if (folder / s).is_dir() and _folders(folder / s)}
    if not paths:
        paths = {"train": folder}
    elif "train" not in paths:
        raise ValueError(
            f"data set {folder}: train/ is missing; to use one of its splits alone, give "
            f"{folder / next(iter(paths))}"
        )
    if not _folders(paths["train"]):
        raise ValueError(
            f"data set {folder}: expected train/CLASS/ and val/CLASS/ with images, or CLASS/"
        )
    return paths


def _check_same(folder: Path, names: dict[str, list[str]]) -> None:
    for split, classes in names.items():
        if classes != names["train"]:
            raise ValueError(
                f"data set {folder}: the classes of {split}/ are not those of train/: "
                f"{_difference(classes, names['train'])}"
            )


def _difference(found: list[str], expected: list[str] | tuple[str, ...]) -> str:
    """What is missing and what is too many, a few of each."""
    parts = []
    for what, which in (
        ("missing", sorted(set(expected) - set(found))),
        ("unexpected", sorted(set(found) - set(expected))),
    ):
        if which:
            more = f" and {len(which) - 5} more" if len(which) > 5 else ""
            parts.append(f"{what} {', '.join(which[:5])}{more}")
    return "; ".join(parts)


def _folders(folder: Path) -> list[str]:
    """The names of the folders in `folder` that are not hidden, sorted; links are followed."""
    with os.scandir(folder) as entries:
        return sorted(e.name for e in entries if e.is_dir() and not e.name.startswith("."))


def _scan(folder: Path, classes: list[str], loading: FileLoading) -> FileList:
    folders = tuple(os.fspath(folder / name) for name in classes)
    report = _refuse if loading.unreadable == "refuse" else _skip
    return FileList.of(folders, (_file_names(path, report) for path in folders))


def _file_names(folder: str, report: Callable[[str, str], None]) -> list[bytes]:
    """The names of a class's files, sorted. Not hidden ones, which tools leave behind."""
    names = []
    with os.scandir(os.fsencode(folder)) as entries:
        for entry in entries:
            if entry.name.startswith(b"."):
                continue
            try:
                is_file, is_folder = entry.is_file(), entry.is_dir()
            except OSError:  # links that lead in a circle
                is_file = is_folder = False
            if is_file:
                names.append(entry.name)
            else:
                reason = "a folder in a class's folder" if is_folder else "not a file"
                report(os.fsdecode(entry.path), f"{reason}: expected images only")
    if not names:
        raise ValueError(f"data set: class folder {folder}: no images in it")
    return sorted(names)


def _refuse(path: str, reason: str) -> None:
    raise ValueError(f"data set: {path}: {reason}")


def _skip(path: str, reason: str) -> None:
    _log.warning("skipped %s: %s", path, reason)


def _held_out_count(files: FileList, asked: int | None) -> int:
    half = len(files) // 2
    if asked is not None and asked >= len(files):
        _log.warning(
            "%s images are fewer than the %s to hold out: %s are held out", len(files), asked, half
        )
    return half if asked is None or asked >= len(files) else asked


def _held_out(files: FileList, count: int) -> tuple[FileList, FileList]:
    """What is left, and `count` files evenly over the classes."""
    chosen = stratified(files.labels, count)
    rest = torch.ones(len(files), dtype=torch.bool)
    rest[chosen] = False
    return files.take(rest.nonzero().flatten()), files.take(chosen)
