"""Paths and labels of many image files, small enough for millions of them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class FileList:
    """Files in one folder a class: file i is in `folders[labels[i]]`.

    All names stand in one string of bytes, `ends` [N] says where each ends. There is no Python
    object a file, whose reference counts would make each loading process copy the whole list.
    """

    folders: tuple[str, ...]
    names: bytes
    ends: Tensor
    labels: Tensor

    @classmethod
    def of(cls, folders: tuple[str, ...], names: Iterable[list[bytes]]) -> FileList:
        """The list from each folder's file names, in the folders' order."""
        packed, ends, counts = bytearray(), [torch.zeros(0, dtype=torch.int64)], []
        for of_class in names:
            lengths = torch.tensor([len(name) for name in of_class], dtype=torch.int64)
            ends.append(lengths.cumsum(0) + len(packed))
            packed += b"".join(of_class)
            counts.append(len(of_class))
        labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
        return cls(folders, bytes(packed), torch.cat(ends), labels)

    def __len__(self) -> int:
        return len(self.labels)

    def path(self, index: int) -> str:
        begin = int(self.ends[index - 1]) if index else 0
        name = self.names[begin : int(self.ends[index])]
        return f"{self.folders[int(self.labels[index])]}/{os.fsdecode(name)}"

    def identity(self) -> str:
        """A digest of the names and labels; not of the folders, which may be moved."""
        digest = hashlib.sha256(self.names)
        for numbers in (self.ends, self.labels):
            digest.update(numbers.numpy().tobytes())
        return digest.hexdigest()

    def take(self, indices: Tensor) -> FileList:
        """The files at `indices` [n], which rise."""
        begins = torch.cat([torch.zeros(1, dtype=torch.int64), self.ends])[indices]
        spans = zip(begins.tolist(), self.ends[indices].tolist(), strict=True)
        names = b"".join(self.names[begin:end] for begin, end in spans)
        ends = (self.ends[indices] - begins).cumsum(0)
        return FileList(self.folders, names, ends, self.labels[indices])
