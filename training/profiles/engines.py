"""The engines that can be timed, and what each needs. Imports none of it until asked."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, cast, get_args

if TYPE_CHECKING:
    from training.profiles.parts import Parts
    from training.profiles.portable.plan import Net
    from training.profiles.portable.timing import Timer

Precision = Literal["float32", "bfloat16"]
Device = Literal["cpu", "cuda"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
DEVICES: tuple[Device, ...] = get_args(Device)


@dataclass(frozen=True, slots=True)
class Setting:
    """What a latency depends on besides the net."""

    engine: str = "torch"
    num_threads: int = 1
    precision: Precision = "float32"
    batch_size: int = 1
    device: Device = "cpu"


class Engine(Protocol):
    """Times chains of parts, one forward at a time and nothing else."""

    name: str
    """With its version."""
    processor: str
    """What it runs on."""

    def timer(self, net: Net) -> Timer: ...


class Package(NamedTuple):
    """Where an engine's `open_engine(parts, setting)` is, what it needs, what it can do."""

    module: str
    packages: tuple[str, ...] = ()
    extra: str = ""
    precisions: tuple[Precision, ...] = ("float32",)
    devices: tuple[Device, ...] = ("cpu",)


ENGINES = {
    "torch": Package("training.profiles.torch_engine", (), "", PRECISIONS, DEVICES),
    "onnxruntime": Package(
        "training.profiles.onnxruntime_engine", ("onnx", "onnxruntime"), "export"
    ),
    "openvino": Package(
        "training.profiles.openvino_engine",
        ("onnx", "openvino"),
        "export,openvino",
        PRECISIONS,
    ),
}


def check_setting(setting: Setting) -> None:
    """Raise `ValueError` for an engine that is not there or cannot do what is asked."""
    if setting.engine not in ENGINES:
        raise ValueError(f"engine {setting.engine!r}: expected one of {', '.join(ENGINES)}")
    engine = ENGINES[setting.engine]
    missing = [package for package in engine.packages if find_spec(package) is None]
    if missing:
        raise ValueError(
            f"engine {setting.engine!r} needs {', '.join(missing)}: "
            f"pip install 'compofa[{engine.extra}]'"
        )
    for field, able in (("precision", engine.precisions), ("device", engine.devices)):
        if getattr(setting, field) not in able:
            raise ValueError(
                f"{field} {getattr(setting, field)!r}: the engine {setting.engine!r} has "
                f"{', '.join(able)}"
            )


def open_engine(parts: Parts, setting: Setting) -> Engine:
    """The engine that a setting asks for. Raises `ValueError` as `check_setting`."""
    check_setting(setting)
    module = importlib.import_module(ENGINES[setting.engine].module)
    opened = cast("Callable[[Parts, Setting], Engine]", module.open_engine)
    return opened(parts, setting)
