"""A folder of exported nets, and how ONNX Runtime is timed on them.

`nets.json` says what is in it: a plan, and for each net to be timed the file, its SHA-256 and the
shape of its input at each resolution.
"""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .plan import Plan

if TYPE_CHECKING:
    from typing import Any

    from .plan import Net
    from .timing import Timer

NETS_FILE = "nets.json"
FORMAT = "compofa-nets-1"
CPU = "CPUExecutionProvider"
DIMENSIONS = ("batch", "channels", "height", "width")


@dataclass(frozen=True)
class OnnxNets:
    """The nets in `folder`, read and checked."""

    folder: Path
    plan: Plan
    artifact_hash: str
    batch_size: int
    files: dict[tuple[str, ...], dict[str, Any]]
    """By the parts that a net is a chain of."""

    @classmethod
    def read(cls, folder: Path) -> OnnxNets:
        """Raises `ValueError` in one line for what `compofa profile --export` would not write."""
        path = folder / NETS_FILE
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            if document["format"] != FORMAT:
                raise ValueError(f"format: expected {FORMAT!r}, got {document['format']!r}")
            nets = cls._of(folder, document)
        except OSError as error:
            raise ValueError(f"{path}: {error.strerror}") from None
        except KeyError as error:
            raise ValueError(f"{path}: there is no {error}") from None
        except (AttributeError, IndexError, RecursionError, TypeError, ValueError) as error:
            raise ValueError(
                f"{path}: not what 'compofa profile --export' writes: {error}"
            ) from None
        for entry in nets.files.values():
            _check_file(folder / entry["file"], entry["sha256"])
        return nets

    @classmethod
    def _of(cls, folder: Path, document: dict[str, Any]) -> OnnxNets:
        subnets = {
            subnet: (int(resolution), tuple(parts))
            for subnet, (resolution, parts) in document["subnets"].items()
        }
        plan = Plan(subnets, tuple(document["fitted"]), tuple(document["held_out"]))
        files = {tuple(entry["parts"]): entry for entry in document["files"]}
        if not subnets:
            raise ValueError("subnets: expected some")
        _check_whole(plan)
        for group in plan.groups:
            for resolution, parts in group.nets:
                tuple(map(int, files[parts]["shapes"][str(resolution)]))
                if Path(files[parts]["file"]).name != files[parts]["file"]:
                    raise ValueError(f"file: expected a name, got {files[parts]['file']!r}")
        hash_, batch_size = str(document["artifact_hash"]), int(document["batch_size"])
        return cls(folder, plan, hash_, batch_size, files)

    def timer(self, net: Net, num_threads: int, provider: str) -> Timer:
        resolution, parts = net
        entry = self.files[parts]
        model = (self.folder / entry["file"]).read_bytes()
        return onnx_timer(model, tuple(entry["shapes"][str(resolution)]), num_threads, provider)


def onnx_timer(
    model: bytes, shape: tuple[int, ...], num_threads: int, provider: str = CPU
) -> Timer:
    """Times a model with one input, whose open dimensions get the sizes of `shape`.

    Raises `ValueError` for a model or a provider that ONNX Runtime does not take.
    """
    import numpy as np
    import onnxruntime  # type: ignore[import-untyped]

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what is wrong it raises, too
    for name, size in zip(DIMENSIONS, shape):  # noqa: B905
        options.add_free_dimension_override_by_name(name, size)
    images = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    try:
        session = onnxruntime.InferenceSession(model, options, providers=[provider])
        feed = {session.get_inputs()[0].name: images}
        session.run(None, feed)
    except Exception as error:  # each failure has a class of its own, with no parent
        raise ValueError(f"ONNX Runtime does not take the net: {error}") from None

    def run() -> float:
        start = time.perf_counter()
        session.run(None, feed)
        return (time.perf_counter() - start) * 1e3

    return run


def _check_whole(plan: Plan) -> None:
    """Raise `ValueError` for sums of parts that could not be corrected or checked."""
    for field, subnets in (("fitted", plan.fitted), ("held_out", plan.held_out)):
        counts = dict.fromkeys(plan.resolutions, 0)
        for subnet in subnets:
            counts[plan.subnets[subnet][0]] += 1
        if plan.fitted and min(counts.values()) < 2:
            raise ValueError(f"{field}: expected at least two subnets of each resolution")


def _check_file(path: Path, sha256: str) -> None:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from None
    if hashlib.sha256(data).hexdigest() != sha256:
        raise ValueError(f"{path}: truncated or changed: not what {NETS_FILE} says")
