"""TorchServe's archive format, `.mar`: a ZIP file with a manifest of its own.

Written here and not by `torch-model-archiver`, which has no other way in than its command line,
takes the model's name from the file's, puts today's date inside, and is archived itself.
"""

from __future__ import annotations

import importlib.util
import json
import re
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

MANIFEST = "MAR-INF/MANIFEST.json"
_LONG_AGO = (1980, 1, 1, 0, 0, 0)  # the same content gives the same bytes
# TorchServe warns where it does not say when, and by which archiver's rules.
_MANIFEST = {
    "createdOn": "01/01/1980 00:00:00",
    "runtime": "python",
    "archiverVersion": "0.12.0",
}


def mar(name: str, handler: str, files: Mapping[str, bytes]) -> bytes:
    """An archive of `files`, by name, one of which is the `handler`, a Python module.

    The model is called `name` where nothing else is asked for at registration; what TorchServe
    does not take in a name becomes a dash.
    """
    model = {"modelName": model_name(name), "modelVersion": "1.0", "handler": handler}
    manifest = {**_MANIFEST, "model": model}
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for file, data in {MANIFEST: json.dumps(manifest).encode(), **files}.items():
            archive.writestr(zipfile.ZipInfo(file, _LONG_AGO), data, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def model_name(name: str) -> str:
    """What TorchServe's URLs can hold of a name."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", name)


@contextmanager
def unpacked(path: Path) -> Iterator[Any]:
    """The handler of an archive, as TorchServe's worker makes it: unpacked into a folder, the
    only class of its module, initialised with where that is. The folder goes at the end."""
    with tempfile.TemporaryDirectory(prefix="compofa-mar-") as name:
        folder = Path(name)
        with zipfile.ZipFile(path) as archive:
            archive.extractall(folder)
        model = json.loads((folder / MANIFEST).read_text("utf-8"))["model"]
        handler = _only_class(folder / model["handler"])()
        handler.initialize(SimpleNamespace(system_properties={"model_dir": name, "gpu_id": None}))
        yield handler


def _only_class(file: Path) -> Any:
    name = f"_{file.stem}_of_an_archive"  # in nobody's way
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    finally:
        del sys.modules[name]
    (only,) = (each for each in vars(module).values() if getattr(each, "__module__", "") == name
               and isinstance(each, type))  # fmt: skip
    return only
