"""A public checkpoint computes here what its keys say it computes, or is refused in one line."""

from __future__ import annotations

import os
import pickle
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from supernet.architecture import Architecture
from supernet.design_space import DesignSpace
from supernet.mobilenet import mobilenet
from supernet.ofa_checkpoint import CheckpointError, import_ofa
from supernet.presets import Freedom, design_space
from tests.supernet.ofa_reference import State, forward, random_checkpoint

OLD, NEW = "mobile_inverted_conv", "conv"


@pytest.fixture(scope="module")
def elastic_state() -> State:
    return random_checkpoint(1.0, matrices=True)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "net.pth"


def public_logits(
    state: State, block: str, space: DesignSpace, x: Tensor, arch: Architecture
) -> Tensor:
    variants = space.variants(arch)
    kernels = [k for v in variants for k in v.kernels]
    ratios = [e for v in variants for e in v.expand_ratios]
    return forward(state, block, x, arch.depths, kernels, ratios)


@pytest.mark.parametrize(
    ("width", "matrices", "block", "freedom", "expected"),
    [
        (1.0, True, NEW, None, "imagenet-mbv3-ofa"),
        (1.2, False, NEW, None, "imagenet-mbv3-w1.2"),
        (1.0, False, NEW, "compound-elastic", "imagenet-mbv3-elastic"),
        (1.0, False, NEW, "elastic", "imagenet-mbv3-ofa"),
        (1.0, True, OLD, "compound", "imagenet-mbv3"),
        pytest.param(1.0, False, OLD, None, "imagenet-mbv3", marks=pytest.mark.slow),
        pytest.param(1.2, True, OLD, None, "imagenet-mbv3-ofa-w1.2", marks=pytest.mark.slow),
    ],
)
def test_it_computes_what_the_checkpoint_says(
    path: Path, width: float, matrices: bool, block: str, freedom: Freedom | None, expected: str
) -> None:
    state = random_checkpoint(width, matrices=matrices, block=block)
    torch.save(state, path)
    supernet = import_ofa(path, freedom)
    space = supernet.space
    assert space.name == expected
    assert space.kernel_transform == matrices
    stored = mobilenet(design_space(expected).skeleton).units
    assert mobilenet(space.skeleton).units == stored
    rng, x = random.Random(1), torch.randn(2, 3, 128, 128)
    for arch in (space.sample(rng, resolution=128), space.smallest):
        logits, expected_logits = supernet(x, arch), public_logits(state, block, space, x, arch)
        torch.testing.assert_close(logits, expected_logits, atol=1e-4, rtol=0)
    # The images hardly move the smallest subnet of random weights, so digits have to count.
    exact = {key: tensor.double() for key, tensor in state.items()}
    expected_logits = public_logits(exact, block, space, x.double(), space.smallest)
    assert (expected_logits[0] - expected_logits[1]).abs().max() > 1e-5
    logits = supernet.double()(x.double(), space.smallest)
    torch.testing.assert_close(logits, expected_logits, atol=1e-10, rtol=0)


def test_smaller_kernels_are_stored_as_they_come(path: Path) -> None:
    state = random_checkpoint(1.0, matrices=True, kernels=(3, 5, 3, 7, 5))
    torch.save(state, path)
    supernet = import_ofa(path)
    assert supernet.space.kernels == ((3,), (3, 5), (3,), (3, 5, 7), (3, 5))
    x, arch = torch.randn(1, 3, 128, 128), supernet.space.smallest
    expected = public_logits(state, NEW, supernet.space, x, arch)
    torch.testing.assert_close(supernet(x, arch), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", ["net.pth", "net.pth.tar", "ofa_mbv3_d234_e346_k357_w1.0"])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_training_checkpoint_is_read_however_it_was_saved(
    tmp_path: Path, elastic_state: State, name: str, zipped: bool
) -> None:
    parallel = {f"module.{key}": tensor for key, tensor in elastic_state.items()}
    document = {"epoch": 3, "best_acc": np.float64(0.5), "state_dict": parallel}
    torch.save(document, tmp_path / name, _use_new_zipfile_serialization=zipped)
    supernet = import_ofa(tmp_path / name)
    assert torch.equal(
        supernet.get_parameter("first_conv.weight"), elastic_state["first_conv.conv.weight"]
    )
    assert supernet.space.skeleton.classes == 10


def test_a_key_that_is_there_twice_is_told(path: Path, elastic_state: State) -> None:
    name = "classifier.linear.bias"
    torch.save(elastic_state | {f"module.{name}": torch.full((10,), 77.0)}, path)
    with pytest.raises(ValueError, match=rf"{name}: is there twice"):
        import_ofa(path)


def cut(state: State, depths: tuple[int, ...]) -> State:
    """The subnet of the first blocks of each unit, widest, as the public code saves one."""
    kept = {key: tensor for key, tensor in state.items() if not key.startswith("blocks.")}
    kept |= {key: tensor for key, tensor in state.items() if key.startswith("blocks.0.")}
    blocks = [1 + 4 * unit + i for unit, depth in enumerate(depths) for i in range(depth)]
    for new, old in enumerate(blocks, 1):
        for key, tensor in state.items():
            if key.startswith(f"blocks.{old}.") and "matrix" not in key:
                name = key.replace(".conv.conv.", ".conv.").replace(".bn.bn.", ".bn.")
                kept[name.replace(f"blocks.{old}.", f"blocks.{new}.", 1)] = tensor
    return kept


@pytest.mark.parametrize("block", [OLD, NEW])
def test_a_subnet_becomes_a_narrowed_net(path: Path, block: str) -> None:
    state = random_checkpoint(1.0, matrices=False, block=block)
    depths = (2, 4, 3, 2, 3)
    torch.save(cut(state, depths), path)
    supernet = import_ofa(path, resolution=128)
    arch = supernet.space.only
    assert arch is not None
    assert (arch.depths, arch.resolution) == (depths, 128)
    x = torch.randn(1, 3, 128, 128)
    expected = forward(state, block, x, depths, (7,) * 14, (6,) * 14)
    torch.testing.assert_close(supernet(x, arch), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("resolution", [0, -5])
def test_no_resolution_is_not_the_usual_one(
    path: Path, elastic_state: State, resolution: int
) -> None:
    torch.save(cut(elastic_state, (2, 2, 2, 2, 2)), path)
    with pytest.raises(ValueError, match="resolution"):
        import_ofa(path, resolution=resolution)


def test_a_subnet_of_another_space_is_refused(path: Path, elastic_state: State) -> None:
    torch.save(cut(elastic_state, (2,) * 5), path)
    with pytest.raises(CheckpointError, match="its subnet is not of imagenet-mbv3: kernels"):
        import_ofa(path, "compound")
    torch.save(cut(elastic_state, (2,) * 4), path)
    with pytest.raises(CheckpointError, match="expected 5 depths"):
        import_ofa(path)


def refusal(path: Path, document: Any, **options: Any) -> str:
    torch.save(document, path)
    with pytest.raises(ValueError, match="checkpoint") as caught:
        import_ofa(path, **options)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


def test_every_odd_key_is_listed(path: Path, elastic_state: State) -> None:
    state = dict(elastic_state)
    del state["blocks.3.conv.point_linear.bn.bn.running_var"]
    del state["blocks.7.conv.depth_conv.conv.7to5_matrix"]
    state["extra.weight"] = torch.zeros(1)
    state["blocks.9.conv.point_linear.conv.conv.weight"] = torch.zeros(80, 240, 3, 3)
    state["classifier.linear.bias"] = torch.full((10,), float("nan"))
    state["first_conv.bn.running_var"] = -state["first_conv.bn.running_var"]
    message = refusal(path, state)
    for part in (
        "missing blocks.3.conv.point_linear.bn.bn.running_var",
        "missing blocks.7.conv.depth_conv.conv.7to5_matrix",
        "unexpected extra.weight",
        "blocks.9.conv.point_linear.conv.conv.weight has shape [80, 240, 3, 3], expected [80, 240",
        "classifier.linear.bias is not finite",
        "first_conv.bn.running_var is negative",
    ):
        assert part in message
    assert message.count(";") == 5


@pytest.mark.parametrize(
    "odd", [torch.zeros(10).to_sparse(), torch.zeros(10, dtype=torch.complex64)]
)
def test_tensors_that_are_no_weights_are_refused(
    path: Path, elastic_state: State, odd: Tensor
) -> None:
    message = refusal(path, elastic_state | {"classifier.linear.bias": odd})
    assert "classifier.linear.bias: expected a dense tensor of real numbers" in message


def test_what_is_no_such_net_is_told(path: Path, elastic_state: State) -> None:
    assert "is no MobileNetV3 supernet: it holds conv1.weight" in refusal(
        path, {"conv1.weight": torch.zeros(1)}
    )
    assert "it holds nothing" in refusal(path, {})
    assert "expected a state-dict" in refusal(path, [1, 2])
    assert "expected a state-dict" in refusal(path, {"state_dict": {"epoch": 3}})
    assert "is a supernet" in refusal(path, elastic_state, resolution=192)
    odd = dict(elastic_state)
    odd["blocks.1.conv.depth_conv.conv.conv.weight"] = torch.zeros(96, 1, 4, 4)
    assert "block 1 stores 4x4; expected one of (3, 5, 7)" in refusal(path, odd)


def test_a_file_that_holds_code_or_is_torn_is_refused(path: Path, elastic_state: State) -> None:
    class Dangerous:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.system, ("touch ran",)

    path.write_bytes(pickle.dumps({"state_dict": Dangerous()}, protocol=2))
    with pytest.raises(ValueError, match=r"asks to run \w+\.system when it is read"):
        import_ofa(path)
    torch.save({"a": Dangerous()}, path)
    with pytest.raises(ValueError, match=r"asks to run \w+\.system when it is read"):
        import_ofa(path)
    torch.save(elastic_state, path)
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], whole[:100], b"", b"not a checkpoint\n"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"is not what torch\.save writes, or is truncated"):
            import_ofa(path)
    with pytest.raises(ValueError, match="No such file"):
        import_ofa(path.with_name("absent"))
    with pytest.raises(ValueError, match="Is a directory"):
        import_ofa(path.parent)
