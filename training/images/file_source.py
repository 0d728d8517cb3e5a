"""Images streamed from files by processes of their own, in the order that plans ask for.

In memory are names and labels only. What a worker draws depends on the plan's seed and the
place in the batch, so the number of workers changes nothing but the time.
"""

from __future__ import annotations

import logging
import signal
import sys
import threading
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader

from supernet.manifest import AnyPreprocessing, Preprocessing
from training.images.augment import Transform, random_box, random_colours, random_flip
from training.images.augmentation import Augmentation
from training.images.data import Batch, BatchPlan
from training.images.file_list import FileList
from training.images.image_file import ChooseBox, UnreadableImageError, read_image
from training.randomness import python_random

UnreadablePolicy = Literal["refuse", "skip"]
_LONGEST_RUN = 100  # unreadable files one after the other, before the folder is taken to be wrong
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FileLoading:
    """How image files become batches; each argument is an option of recipe or command line.

    Training takes a random part of at least `min_scale` of the image's area, mirrored half the
    time, as published for Once-for-All and CompOFA; `colour_jitter` adds their change of
    brightness (by up to 32/255) and saturation (by up to a half); `augmentation` has these.
    Without a seed the image is taken as `preprocessing` says. `unreadable` is what to do with a
    file that is no whole image: 'refuse' ends with an error that names it, 'skip' names it once
    and takes the next readable one. `num_workers` processes decode; 0 decodes where batches are
    asked for.
    """

    preprocessing: AnyPreprocessing
    augmentation: Augmentation = field(default_factory=Augmentation)
    unreadable: UnreadablePolicy = "refuse"
    num_workers: int = 0

    @property
    def channels(self) -> int:
        return len(self.of_images.mean)

    @property
    def of_images(self) -> Preprocessing:
        """The preprocessing. Raises `ValueError` for a net that takes none."""
        if isinstance(self.preprocessing, Preprocessing):
            return self.preprocessing
        raise ValueError("the net takes tokens: it cannot be given images")


@dataclass(frozen=True, slots=True)
class FileSource:
    """An `ImageSource` over image files.

    `unreadable` gathers the files that were skipped so far, each with the reason.
    """

    files: FileList
    loading: FileLoading
    unreadable: dict[str, str] = field(default_factory=dict)

    @property
    def labels(self) -> Tensor:
        return self.files.labels

    def __len__(self) -> int:
        return len(self.files)

    def batches(self, plans: Iterable[BatchPlan]) -> Iterator[Batch]:
        """As every source's. Dropping the iterator ends its worker processes.

        Raises `UnreadableImageError` for a file that may not be skipped, `OSError` where the
        disk fails, and `ChildProcessError` where a worker process ends by itself.
        """
        loader: DataLoader[_Loaded] = DataLoader(
            _FileBatches(self.files, self.loading),  # type: ignore[arg-type]
            batch_size=None,
            sampler=((p.indices.tolist(), p.resolution, p.seed) for p in plans),
            num_workers=self.loading.num_workers,
            collate_fn=_as_it_is,
            worker_init_fn=_begin_worker,
            generator=torch.Generator(),  # its own, so that none is drawn from the global one
        )
        for loaded in _from_workers(loader):
            yield self._checked(loaded)

    def _checked(self, loaded: _Loaded | Exception) -> Batch:
        if isinstance(loaded, Exception):
            raise loaded
        for path, reason in loaded.unreadable:
            if path not in self.unreadable:
                self.unreadable[path] = reason
                _log.warning("skipped %s", _say(path, reason))
        return loaded.batch


@dataclass(frozen=True, slots=True)
class _Loaded:
    """A batch, and each file that could not be read on the way, with the reason."""

    batch: Batch
    unreadable: tuple[tuple[str, str], ...]


_Order = tuple[list[int], int, int | None]
"""A plan as it travels to a worker: indices, resolution, seed."""


@dataclass(frozen=True, slots=True)
class _FileBatches:
    """Makes batches; runs in the workers and keeps nothing."""

    files: FileList
    loading: FileLoading

    def __getitem__(self, order: _Order) -> _Loaded | Exception:
        """The batch, or what is wrong as a value: raised here, it would come with a traceback."""
        try:
            return self._load(order)
        except (UnreadableImageError, OSError) as error:
            return error

    def _load(self, order: _Order) -> _Loaded:
        indices, resolution, seed = order
        unreadable: list[tuple[str, str]] = []
        pixels, taken = [], []
        for position, index in enumerate(indices):
            image, place = self._first_readable(index, position, resolution, seed, unreadable)
            pixels.append(torch.from_numpy(np.array(image).reshape(resolution, resolution, -1)))
            taken.append(place)
        x = Transform(self.loading.of_images)(torch.stack(pixels).permute(0, 3, 1, 2), resolution)
        return _Loaded(Batch(x, self.files.labels[taken]), tuple(unreadable))

    def _first_readable(
        self,
        index: int,
        position: int,
        resolution: int,
        seed: int | None,
        unreadable: list[tuple[str, str]],
    ) -> tuple[Image.Image, int]:
        """The image at `index` or the next that can be read, and where it is."""
        for step in range(min(_LONGEST_RUN, len(self.files))):
            place = (index + step) % len(self.files)
            try:
                return self._read(place, position, resolution, seed), place
            except UnreadableImageError as error:
                unreadable.append((self.files.path(place), str(error)))
                if self.loading.unreadable == "refuse":
                    raise UnreadableImageError(_say(*unreadable[-1])) from None
        raise UnreadableImageError(
            f"{_say(*unreadable[-1])}; so were the {len(unreadable) - 1} files before it"
        )

    def _read(self, index: int, position: int, resolution: int, seed: int | None) -> Image.Image:
        path, loading = self.files.path(index), self.loading
        if seed is None:
            choose: ChooseBox = loading.of_images.box
            return read_image(path, loading.channels, resolution, choose)
        rng = python_random(seed, position)
        how = loading.augmentation
        choose = partial(random_box, min_scale=how.min_scale, rng=rng)
        image = read_image(path, loading.channels, resolution, choose)
        image = random_flip(image, rng) if how.mirror else image
        return random_colours(image, rng) if how.colour_jitter else image


def _from_workers(loader: DataLoader[_Loaded]) -> Iterator[_Loaded]:
    """What the workers make; one that was killed is an error in one line."""
    handler = signal.getsignal(signal.SIGCHLD)
    batches = iter(loader)
    if threading.current_thread() is threading.main_thread():
        # torch's own handler would raise wherever the program happens to be when a worker dies;
        # taking the next batch notices too, within five seconds.
        signal.signal(signal.SIGCHLD, handler)
    died = ""
    try:
        yield from batches
    except (RuntimeError, EOFError, ConnectionError, FileNotFoundError) as error:
        if isinstance(error, RuntimeError) and "DataLoader worker" not in str(error):
            raise
        died = str(error) or type(error).__name__
    del batches  # and not raised from above: the first error's traceback keeps the other workers
    if died:
        raise ChildProcessError(
            f"a worker process that loads images ended by itself ({died}); memory, or shared "
            "memory (/dev/shm), may be too small: use fewer workers or smaller batches"
        )


def _say(path: str, reason: str) -> str:
    return f"image file {path}: {reason}"


def _as_it_is(loaded: Any) -> Any:
    return loaded


def _begin_worker(_worker: int) -> None:
    """Leave Ctrl-C to the main process, and warnings about odd metadata unsaid.

    Errors come with the batch. What is left is the thread that hands tensors over, which would
    print a traceback when the main process leaves in the middle of it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.excepthook = lambda *_: None
    warnings.filterwarnings("ignore", module="PIL")
