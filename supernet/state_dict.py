"""State-dicts, read from files that others wrote.

A file is data, never code: it is unpickled with `weights_only=True`.
"""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor


def read_state_dict(what: str, path: Path) -> dict[str, Tensor]:
    """The state-dict that `torch.save` put in a file, bare or under `state_dict`, as float32.

    The prefix `module.` of nets trained in parallel is dropped, and the counters of batch norm
    are. `what` names the file in errors: `ValueError`, one line, where it is anything else.
    """
    document = _read(what, path)
    state = document.get("state_dict", document) if isinstance(document, dict) else document
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise ValueError(f"{what} {path}: expected a state-dict, or one under 'state_dict'")
    weights: dict[str, Tensor] = {}
    for key, tensor in state.items():
        name = str(key).removeprefix("module.")
        if name in weights:
            raise ValueError(f"{what} {path}: {name}: is there twice, with 'module.' and without")
        if not name.endswith("num_batches_tracked"):
            weights[name] = tensor
    for key, tensor in weights.items():
        if tensor.layout is not torch.strided or tensor.is_complex() or tensor.is_quantized:
            raise ValueError(f"{what} {path}: {key}: expected a dense tensor of real numbers")
    return {key: tensor.float() for key, tensor in weights.items()}


def _read(what: str, path: Path) -> Any:
    try:
        with torch.serialization.safe_globals(_numpy_scalars()), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is wrong with the file is told by the error
            return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        if error.filename is None:  # not the file system's: the archive in the file is torn
            raise ValueError(f"{what} {path}: is truncated") from None
        raise ValueError(f"{what} {path}: {error.strerror or error}") from None
    except Exception as error:  # a torn or foreign file can fail anywhere in the unpickler
        code = re.search(r"GLOBAL (\S+)", str(error))
        if code:
            raise ValueError(
                f"{what} {path}: asks to run {code[1]} when it is read, which is refused"
            ) from None
        raise ValueError(f"{what} {path}: is not what torch.save writes, or is truncated") from None


def _numpy_scalars() -> list[Any]:
    """What reads a NumPy number, as public trainers leave one beside the weights: plain data."""
    scalar = np.float64(0).__reduce__()[0]
    kinds = [type(np.dtype(kind)) for kind in (np.float32, np.float64, np.int64)]
    names = [f"numpy.{core}.multiarray.scalar" for core in ("core", "_core")]  # before and from 2
    return [np.dtype, *kinds, *((scalar, name) for name in names)]
