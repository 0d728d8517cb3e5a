"""No package of the project runs code that a file brings along."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("supernet", "training", "gateway", "protos")
SOURCES = [
    ROOT / "compofa.py",
    *sorted(path for name in PACKAGES for path in (ROOT / name).rglob("*.py")),
]
MODULES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
HARMLESS = {"pickle.UnpicklingError"}  # what torch raises for a file that is torn
LOADS = {"torch.load": ("weights_only", True), "np.load": ("allow_pickle", False),
         "numpy.load": ("allow_pickle", False)}  # fmt: skip
CALLS = {"eval", "exec", "yaml.load", "yaml.unsafe_load", "yaml.full_load", "torch.jit.load"}


def unsafe(source: str) -> Iterator[str]:
    """What in a module could run code from a file, each as line and name."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in MODULES:
            yield f"{node.lineno}: from {node.module}"
        elif isinstance(node, ast.Attribute):
            name = ast.unparse(node)
            if name.partition(".")[0] in MODULES and name not in HARMLESS:
                yield f"{node.lineno}: {name}"
        elif isinstance(node, ast.Import):
            yield from (
                f"{node.lineno}: import {alias.name}"
                for alias in node.names
                if alias.name in MODULES - {"pickle"} or (alias.name == "pickle" and alias.asname)
            )
        elif isinstance(node, ast.Call):
            yield from _unsafe_call(node)


def _unsafe_call(node: ast.Call) -> Iterator[str]:
    name = ast.unparse(node.func)
    keywords = {keyword.arg: keyword.value for keyword in node.keywords}
    if name in LOADS:
        option, safe = LOADS[name]
        value = keywords.get(option)
        by_default = name != "torch.load"  # numpy's default is the safe one, torch's once was not
        if value is None and not by_default:
            yield f"{node.lineno}: {name} without {option}={safe}"
        elif value is not None and not (isinstance(value, ast.Constant) and value.value is safe):
            yield f"{node.lineno}: {name} with {option}={ast.unparse(value)}"
    elif name in CALLS:
        yield f"{node.lineno}: {name}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_is_loaded_that_could_be_code(path: Path) -> None:
    assert list(unsafe(path.read_text("utf-8"))) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle\npickle.load(file)",
        "import pickle\npickle.loads",
        "import pickle as p",
        "from pickle import load",
        "import joblib",
        "import torch\ntorch.load(path)",
        "import torch\ntorch.load(path, weights_only=False)",
        "import torch\ntorch.load(path, weights_only=flag)",
        "import numpy as np\nnp.load(path, allow_pickle=True)",
        "import yaml\nyaml.load(text, yaml.Loader)",
        "eval(text)",
    ],
)
def test_what_would_be_unsafe_is_seen(source: str) -> None:
    assert list(unsafe(source))


@pytest.mark.parametrize(
    "source",
    [
        "import pickle\ntry: pass\nexcept pickle.UnpicklingError: pass",
        "import torch\ntorch.load(path, weights_only=True)",
        "import numpy as np\nnp.load(path)",
        "model.eval()",
    ],
)
def test_what_is_safe_passes(source: str) -> None:
    assert list(unsafe(source)) == []
