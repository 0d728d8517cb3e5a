"""What an archive of a whole family holds: the artifact, latency tables, the handler's entry."""

from __future__ import annotations

from pathlib import Path

from gateway.stores.by_url import read_device_classes
from gateway.torchserve import entry as torchserve_entry
from gateway.torchserve.family import ARTIFACT_FOLDER
from supernet.latency import TABLES_FOLDER
from supernet.manifest import MANIFEST_FILE, read_manifest

HANDLER = "compofa_family.py"


def family_files(artifact: Path) -> tuple[str, dict[str, bytes]]:
    """The handler's name, and every file by name, of the family in the folder `artifact`.

    The tables are those that a gateway would serve by now: of the artifact and, before them, of
    the default store. Raises `ValueError` where there are none.
    """
    classes = read_device_classes(artifact, read_manifest(artifact), None)
    if not classes.names:
        raise ValueError(
            f"artifact {artifact}: there is no latency table to choose subnets by: measure one "
            "with 'compofa profile', or import one"
        )
    files = {HANDLER: Path(torchserve_entry.__file__).read_bytes()}
    for path in (artifact / MANIFEST_FILE, *sorted(artifact.glob("*.safetensors"))):
        files[f"{ARTIFACT_FOLDER}/{path.name}"] = path.read_bytes()
    for name in classes.names:
        table = classes.table(name).table.model_dump_json(indent=1)
        files[f"{ARTIFACT_FOLDER}/{TABLES_FOLDER}/{name}.json"] = table.encode()
    return HANDLER, files
