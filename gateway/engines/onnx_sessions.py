"""Sessions of ONNX Runtime: of a model in memory, or with weights that are mapped from a file.

A session that optimises a model lays its weights out anew, in memory of its own. What has been
optimised is loaded as it is, and its weights are pages of a file that all processes share.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnxruntime as ort  # type: ignore[import-untyped]

_PROVIDERS = ["CPUExecutionProvider"]
_ERRORS_ONLY = 3
_PAGE_BYTES = 4096
_SMALL_BYTES = "1024"  # weights below that stay in the model
_FOLDER = "session.model_external_initializers_file_folder_path"
_FILE = "session.optimized_model_external_initializers_file_name"
_LEAST = "session.optimized_model_external_initializers_min_size_in_bytes"


def session_of(model: bytes) -> Any:
    """Optimised now, with weights of its own."""
    return _session(model, _options())


def mapped_session(model: bytes, weights: Path) -> Any:
    """Of what `optimised_apart` made, its weights in the file `weights`."""
    options = _options()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.add_session_config_entry(_FOLDER, str(weights.parent))
    options.add_session_config_entry("session.disable_prepacking", "1")  # it would copy them
    return _session(model, options)


def optimised_apart(
    model: bytes, scratch: Path, file_name: str, begins: int
) -> tuple[bytes, bytes]:
    """The model optimised for this processor, and its weights: to be found in a file of the name,
    whose first `begins` bytes are not theirs. Needs an empty folder, and its disk."""
    import onnx

    optimised, weights = scratch / "model", scratch / "weights"
    options = _options()
    options.optimized_model_filepath = str(optimised)
    options.add_session_config_entry(_FILE, weights.name)
    options.add_session_config_entry(_LEAST, _SMALL_BYTES)
    _session(model, options)
    found = onnx.load(optimised, load_external_data=False)
    data = weights.read_bytes() if weights.exists() else b""
    aligned = -(-begins // _PAGE_BYTES) * _PAGE_BYTES
    for entry in _entries(found):
        if entry.key == "location":
            entry.value = file_name
        elif entry.key == "offset":
            entry.value = str(int(entry.value) + aligned)
    return found.SerializeToString(), bytes(aligned - begins) + data


def _entries(model: Any) -> Iterator[Any]:
    """What says where weights lie."""
    for tensor in model.graph.initializer:
        yield from tensor.external_data


def _options() -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = _ERRORS_ONLY
    options.enable_mem_pattern = False  # plans for one shape; here each is another
    options.add_session_config_entry("session.use_env_allocators", "1")
    return options


def _session(model: bytes, options: Any) -> Any:
    return ort.InferenceSession(model, options, providers=_PROVIDERS)
