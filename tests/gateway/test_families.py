"""Nets of every family through the whole gateway: nothing in it knows one of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from gateway.config import ServerConfig
from gateway.errors import InvalidRequest
from gateway.opening import open_pipeline
from gateway.request import Constraints, ImageInput, TensorInput
from gateway.ui import documents
from supernet import artifact
from supernet.architecture import Architecture
from supernet.artifact import Description
from supernet.catalog import Catalog, CatalogEntry
from supernet.complexity import complexity
from supernet.design_space import DesignSpace
from supernet.latency import LatencyTable
from supernet.manifest import Preprocessing, TextPreprocessing
from supernet.model import Supernet
from supernet.normalization import PieceAffine
from supernet.presets import design_space

FoldRandomly = Callable[[DesignSpace], Supernet]
FAMILIES = ("fashion-mnist-proxyless", "words")
ALPHA = Constraints("alpha")
COMPILED = ("onnxruntime", "openvino")

SERVED = [
    *((family, "torch") for family in FAMILIES),
    (FAMILIES[0], "openvino"),
    *(  # up to a minute to compile
        pytest.param(family, engine, marks=pytest.mark.slow)
        for family, engine in ((FAMILIES[0], "onnxruntime"), *((FAMILIES[1], e) for e in COMPILED))
    ),
]
MS_PER_MAC = 1e-6


@pytest.fixture(scope="module", params=FAMILIES)
def net(
    request: pytest.FixtureRequest,
    fold_randomly: FoldRandomly,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, Supernet]:
    """An artifact with random weights and its net; accuracies rise with MACs."""
    space = design_space(request.param)
    supernet = Supernet(space, PieceAffine()).eval().requires_grad_(False)
    preprocessing: Preprocessing | TextPreprocessing = TextPreprocessing(alphabet="abc")
    if space.skeleton.inputs.kind == "image":
        supernet = fold_randomly(space)
        preprocessing = Preprocessing(mean=(0.5,), std=(0.5,))
    costs = {arch.id: complexity(space, arch) for arch in space.enumerate()}
    entries = tuple(
        CatalogEntry(subnet=s, accuracy=0.5 + c.macs / 1e9, macs=c.macs, parameters=c.parameters)
        for s, c in costs.items()
    )
    table = LatencyTable(
        device_class="alpha",
        artifact_hash="0" * 32,
        source="MACs",
        measured=False,
        latency_ms={s: c.macs * MS_PER_MAC for s, c in costs.items()},
    )
    folder = tmp_path_factory.mktemp("families") / "net"
    labels = tuple("abcdefghij")
    description = Description("net", preprocessing, labels, Catalog(entries=entries))
    artifact.save(folder, supernet, description, [table])
    return folder, supernet


def tensor(space: DesignSpace, resolution: int) -> tuple[TensorInput, torch.Tensor]:
    form, rng = space.skeleton.inputs, np.random.default_rng(0)
    shape = (3, *form.shape(resolution))
    values = (
        rng.integers(0, form.vocabulary, shape).astype("<i8")
        if form.kind == "tokens"
        else rng.standard_normal(shape).astype("<f4")
    )
    return TensorInput(form.dtype, shape, values.tobytes()), torch.from_numpy(values)


@pytest.mark.parametrize(("net", "engine"), SERVED, indirect=["net"])
def test_every_budget_is_answered_by_its_subnet(
    net: tuple[Path, Supernet], tmp_path: Path, engine: str
) -> None:
    if engine != "torch":
        pytest.importorskip(engine)
    folder, supernet = net
    space = supernet.space
    sent, x = tensor(space, max(space.resolutions))
    config = ServerConfig.model_validate(
        {"artifact": folder, "engine": engine, "store": f"sqlite://{tmp_path}/tables.sqlite3"}
    )
    full = complexity(space, space.largest).macs * MS_PER_MAC
    with open_pipeline(config) as pipeline, asyncio.Runner() as loop:
        for budget_ms in (full, full / 2, full / 3):
            answer = loop.run(pipeline.infer(sent, Constraints("alpha", budget_ms)))
            arch = Architecture.parse(answer.selection.subnet)
            assert answer.selection.latency_ms <= budget_ms
            if space.skeleton.inputs.kind == "tokens":
                expected = supernet(x[:, : arch.resolution], arch)
            elif arch.resolution == x.shape[-1]:
                expected = supernet(x, arch)
            else:
                continue  # reduced by the gateway, which test_images compares
            np.testing.assert_allclose(answer.logits, expected, rtol=1e-3, atol=1e-3)


def test_what_is_no_input_of_the_net_is_refused(net: tuple[Path, Supernet], tmp_path: Path) -> None:
    folder, supernet = net
    space, form = supernet.space, supernet.space.skeleton.inputs
    store = f"sqlite://{tmp_path}/tables.sqlite3"
    config = ServerConfig(artifact=folder, store=store, engine="torch")
    good, _ = tensor(space, max(space.resolutions))
    with open_pipeline(config) as pipeline, asyncio.Runner() as loop:
        other = "FP32" if form.dtype == "INT64" else "INT64"
        with pytest.raises(InvalidRequest, match=f"tensor.dtype: expected '{form.dtype}'"):
            loop.run(pipeline.infer(TensorInput(other, good.shape, good.data), ALPHA))
        with pytest.raises(InvalidRequest, match=r"tensor.shape: expected \[1 to 32, "):
            loop.run(pipeline.infer(TensorInput(form.dtype, (1, 7), b""), ALPHA))
        if form.kind == "tokens":
            with pytest.raises(InvalidRequest, match="input: expected a tensor of tokens"):
                loop.run(pipeline.infer(ImageInput(b"abc"), ALPHA))
            cannot_ask = documents.net(pipeline, 1, None)["cannot_ask"]
            assert cannot_ask == "This net reads tokens, not images: ask it over gRPC."
            wrong = np.full(good.shape, form.vocabulary, "<i8").tobytes()
            with pytest.raises(InvalidRequest, match=r"tokens from 0 to 26 \(value 0\), got 27"):
                loop.run(pipeline.infer(TensorInput("INT64", good.shape, wrong), ALPHA))
