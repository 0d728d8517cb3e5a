"""A folder that measures a device: exported nets, what they are, and the script that times them."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from supernet.architecture import Architecture
from supernet.artifact import Artifact
from supernet.durable import replaced_folder, write_file
from supernet.manifest import Manifest
from supernet.onnx_chain import onnx_chain
from training.profiles import portable
from training.profiles.parts import Parts
from training.profiles.portable.onnx_nets import FORMAT, NETS_FILE
from training.profiles.portable.plan import Plan

if TYPE_CHECKING:
    from training.profiles.portable.timing import Advance

SCRIPT_FILE = "measure.pyz"
_MAIN = "import sys\nfrom portable.script import main\nsys.exit(main())\n"


def write_device_folder(
    folder: Path,
    artifact: Artifact,
    plan: Plan,
    batch_size: int,
    advance: Advance | None = None,
) -> None:
    """Write all that `python3 measure.pyz` needs; what is at `folder` is whole or as it was.

    Raises `ValueError` where something is there already.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"--export {folder}: something is there; give a new or empty folder")
    parts = Parts(artifact.supernet, map(Architecture.parse, plan.subnets))
    entries: dict[tuple[str, ...], dict[str, Any]] = {}
    with replaced_folder(folder) as fresh:
        for resolution, names in (net for group in plan.groups for net in group.nets):
            if names not in entries:
                name, model = _file_name(plan, names), onnx_chain(parts.chain(names))
                write_file(fresh / name, model)
                digest = hashlib.sha256(model).hexdigest()
                entries[names] = {"parts": names, "file": name, "sha256": digest, "shapes": {}}
            shape = parts.input_shape((resolution, names), batch_size)
            entries[names]["shapes"][resolution] = shape
            if advance is not None:
                advance(1)
        write_file(fresh / SCRIPT_FILE, _script())
        document = _document(artifact.manifest, plan, batch_size) | {"files": [*entries.values()]}
        write_file(fresh / NETS_FILE, json.dumps(document, indent=1).encode())


def _document(manifest: Manifest, plan: Plan, batch_size: int) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "artifact": manifest.name,
        "artifact_hash": manifest.artifact_hash,
        "batch_size": batch_size,
        "subnets": plan.subnets,
        "fitted": plan.fitted,
        "held_out": plan.held_out,
    }


def _file_name(plan: Plan, names: tuple[str, ...]) -> str:
    """After the part, or after a subnet that has these."""
    whole = next((s for s, (_, own) in plan.subnets.items() if own == names), names[0])
    return whole.partition("@")[0].replace("/", "_") + ".onnx"


def _script() -> bytes:
    """The portable modules as one file that Python runs; the same bytes every time."""
    buffer = io.BytesIO()
    sources = sorted(Path(portable.__file__).parent.glob("*.py"))
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in [
            ("__main__.py", _MAIN),
            *((f"portable/{path.name}", path.read_text()) for path in sources),
        ]:
            archive.writestr(zipfile.ZipInfo(name), text)
    return buffer.getvalue()
