"""A list of files is what it was made of, whatever is taken of it."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from training.images.file_list import FileList

NAMES = st.lists(
    st.lists(st.binary(min_size=1, max_size=6).filter(lambda b: b"/" not in b), max_size=4),
    min_size=1,
    max_size=4,
)


@given(names=NAMES, data=st.data())
def test_paths_and_labels_are_those_given(names: list[list[bytes]], data: st.DataObject) -> None:
    folders = tuple(f"folder-{i}" for i in range(len(names)))
    files = FileList.of(folders, names)
    expected = [
        (f"{folder}/".encode() + name, label)
        for label, (folder, of_class) in enumerate(zip(folders, names, strict=True))
        for name in of_class
    ]
    assert _content(files) == expected
    chosen = sorted(data.draw(st.sets(st.sampled_from(range(len(expected)))))) if expected else []
    taken = files.take(torch.tensor(chosen, dtype=torch.int64))
    assert _content(taken) == [expected[i] for i in chosen]


def _content(files: FileList) -> list[tuple[bytes, int]]:
    return [
        (files.path(i).encode(errors="surrogateescape"), int(files.labels[i]))
        for i in range(len(files))
    ]
