"""Regenerates the committed Python code from the `.proto` files beside it, or checks it.

    python -m protos.generate            # write what has changed
    python -m protos.generate --check    # exit status 1 where something would change

Needs grpcio-tools and mypy-protobuf (the `dev` extra); running the gateway does not.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from importlib import resources
from pathlib import Path

ROOT = Path(__file__).parent
_GENERATED = ("*_pb2.py", "*_pb2.pyi", "*_pb2_grpc.py", "*_pb2_grpc.pyi")


def generate() -> dict[Path, str]:
    """What belongs beside the `.proto` files: path relative to `ROOT` → text.

    Raises `ValueError` where the compiler rejects a file; its own words are on standard error.
    """
    protos = sorted(str(path.relative_to(ROOT)) for path in ROOT.rglob("*.proto"))
    with tempfile.TemporaryDirectory() as folder:
        _compile(protos, folder)
        out = Path(folder)
        return {path.relative_to(out): _rooted(path.read_text("utf-8")) for path in _files(out)}


def outdated() -> dict[Path, str | None]:
    """The generated files that differ from what is there; `None` for one that should go."""
    fresh = generate()
    there = {path.relative_to(ROOT): path.read_text("utf-8") for path in _files(ROOT)}
    return {p: fresh.get(p) for p in fresh.keys() | there.keys() if fresh.get(p) != there.get(p)}


def main(argv: list[str] | None = None) -> int:
    """The command line; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m protos.generate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing, only compare")
    check = parser.parse_args(argv).check
    changed = outdated()
    for path, text in sorted(changed.items()):
        print(f"{'out of date' if check else 'written'}: protos/{path}", file=sys.stderr)
        if not check:
            _put(ROOT / path, text)
    return 1 if check and changed else 0


def _compile(protos: list[str], out: str) -> None:
    from google.rpc import status_pb2
    from grpc_tools import protoc  # type: ignore[import-untyped]

    binaries = Path(sys.executable).parent
    plugins = [
        f"--plugin=protoc-gen-{name}={binaries / f'protoc-gen-{name}'}"
        for name in ("mypy", "mypy_grpc")
    ]
    outputs = [
        f"--{kind}_out={option}{out}"
        for kind, option in (
            ("python", ""),
            ("grpc_python", ""),
            ("mypy", "quiet:"),
            ("mypy_grpc", "quiet:"),
        )
    ]
    well_known = str(resources.files("grpc_tools") / "_proto")
    google = str(Path(status_pb2.__file__).parents[2])  # of googleapis-common-protos
    includes = [f"-I{path}" for path in (ROOT, well_known, google)]
    arguments = ["protoc", *includes, *plugins, *outputs, *protos]
    if protoc.main(arguments) != 0:
        raise ValueError("protoc failed")


def _files(folder: Path) -> list[Path]:
    return [path for pattern in _GENERATED for path in folder.rglob(pattern)]


def _rooted(text: str) -> str:
    """Protobuf's paths begin in this folder, Python's one above it."""
    return re.sub(r"^from (compofa|inference|torchserve)\b", r"from protos.\1", text, flags=re.M)


def _put(path: Path, text: str | None) -> None:
    if text is None:
        path.unlink()
    else:
        path.write_text(text, "utf-8")


if __name__ == "__main__":
    sys.exit(main())
