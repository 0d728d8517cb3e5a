"""An artifact comes back bit for bit, is replaced whole or not at all, and fails in one line."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor

from supernet import durable
from supernet.architecture import Architecture
from supernet.artifact import Description, load, save, save_catalog
from supernet.catalog import Catalog
from supernet.design_space import DesignSpace
from supernet.latency import LatencyTable, read_bundled_tables
from supernet.manifest import ArtifactError, Preprocessing, read_manifest
from supernet.model import Supernet
from supernet.narrow import narrow
from supernet.normalization import Position, SharedStatistics, SubnetStatistics
from supernet.presets import design_space


@pytest.fixture
def folder(artifact_folder: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return shutil.copytree(artifact_folder, tmp_path / "net")


def edit_manifest(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "artifact.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def edit_tensors(folder: Path, kind: str, change: Callable[[dict[str, Tensor]], object]) -> None:
    """Change `weights` or `norm` and make the manifest agree, so that only the keys are wrong."""
    path = folder / f"{kind}.safetensors"
    tensors = safetensors.torch.load_file(path)
    change(tensors)
    data = safetensors.torch.save(tensors)
    path.write_bytes(data)
    sha256 = hashlib.sha256(data).hexdigest()
    edit_manifest(folder, lambda document: document.update({f"{kind}_sha256": sha256}))


def refusal(folder: Path) -> str:
    with pytest.raises(ArtifactError) as caught:
        load(folder)
    message = str(caught.value)
    assert str(folder) in message
    assert "\n" not in message
    return message


def test_what_is_loaded_computes_the_same_bits(
    artifact_folder: Path, folded_supernet: Supernet
) -> None:
    loaded = load(artifact_folder).supernet
    for arch in folded_supernet.space.enumerate():
        x = torch.randn(2, 1, arch.resolution, arch.resolution)
        assert torch.equal(loaded(x, arch), folded_supernet(x, arch))


def test_the_manifest_says_what_was_saved(
    artifact_folder: Path, description: Description, folded_supernet: Supernet
) -> None:
    manifest = read_manifest(artifact_folder)
    assert manifest == load(artifact_folder).manifest
    assert manifest.design_space == folded_supernet.space
    assert manifest.catalog == description.catalog
    assert manifest.labels == description.labels
    assert manifest.normalization == "piece-affine"


def test_tables_travel_with_it_and_belong_to_it(artifact_folder: Path) -> None:
    tables = read_bundled_tables(artifact_folder)
    assert [table.device_class for table in tables] == ["alpha", "beta"]
    own = read_manifest(artifact_folder).artifact_hash
    assert {table.artifact_hash for table in tables} == {own}


def test_the_same_numbers_cut_into_other_subnets_have_a_hash_of_their_own(
    artifact_folder: Path,
) -> None:
    manifest = read_manifest(artifact_folder)

    def hash_with(**changed: object) -> str:
        space = manifest.design_space.model_copy(update=changed)
        return manifest.model_copy(update={"design_space": space}).artifact_hash

    assert hash_with(compound=False) != manifest.artifact_hash
    assert hash_with(resolutions=(8,)) != manifest.artifact_hash
    assert hash_with(name="another name") == manifest.artifact_hash


def test_statistics_per_subnet_come_back(
    tmp_path: Path, folded_supernet: Supernet, description: Description
) -> None:
    statistics = SubnetStatistics()
    statistics.add(Position.start(12), "first_conv", torch.ones(8), torch.full((8,), 2.0))
    supernet = Supernet(folded_supernet.space, statistics)
    uncounted = dataclasses.replace(description, catalog=Catalog())
    save(tmp_path / "net", supernet, uncounted)
    loaded = load(tmp_path / "net").supernet
    assert isinstance(loaded.normalization, SubnetStatistics)
    found = loaded.normalization.tensors()
    assert found.keys() == statistics.tensors().keys()
    assert all(torch.equal(found[k], v) for k, v in statistics.tensors().items())
    name = "first_conv.gamma"
    assert torch.equal(loaded.get_parameter(name), supernet.get_parameter(name))


def test_shared_statistics_come_back(
    tmp_path: Path, share_randomly: Callable[[DesignSpace], Supernet]
) -> None:
    space = design_space("fashion-mnist-mbv3-ofa")
    supernet = share_randomly(space)
    labels = tuple("0123456789")
    description = Description("shared", Preprocessing(mean=(0.5,), std=(0.25,)), labels)
    save(tmp_path / "net", supernet, description)
    loaded = load(tmp_path / "net").supernet
    assert isinstance(loaded.normalization, SharedStatistics)
    x = torch.randn(1, 1, 20, 20)
    arch = space.sample(random.Random(0), resolution=20)
    assert torch.equal(loaded(x, arch), supernet(x, arch))
    edit_tensors(tmp_path / "net", "norm", lambda tensors: tensors.pop("unit3|block1/expand|var"))
    assert "missing unit3|block1/expand|var" in refusal(tmp_path / "net")


def test_a_narrowed_net_comes_back(tmp_path: Path, folded_supernet: Supernet) -> None:
    arch = Architecture.parse("d2-3@12")
    narrowed = narrow(folded_supernet, arch)
    save(tmp_path / "net", narrowed, Description("one", Preprocessing(mean=(0.5,), std=(0.25,)),
                                                 tuple("0123456789")))  # fmt: skip
    loaded = load(tmp_path / "net")
    assert loaded.manifest.design_space.only == arch
    x = torch.randn(1, 1, 12, 12)
    assert torch.equal(loaded.supernet(x, arch), narrowed(x, arch))


def test_statistics_missing_for_a_listed_subnet_are_named(
    tmp_path: Path, folded_supernet: Supernet, description: Description
) -> None:
    arch = folded_supernet.space.smallest
    listed = Catalog(entries=(description.catalog[arch.id],))
    statistics = SubnetStatistics()
    statistics.add(Position.start(arch.resolution), "first_conv", torch.ones(8), torch.ones(8))
    supernet = Supernet(folded_supernet.space, statistics)
    save(tmp_path / "net", supernet, dataclasses.replace(description, catalog=listed))
    with pytest.raises(ArtifactError, match=r"missing 12>stem.*unit1.*head.final_expand.mean"):
        load(tmp_path / "net")


def test_a_net_in_training_is_not_saved(
    tmp_path: Path, folded_supernet: Supernet, description: Description
) -> None:
    with pytest.raises(ValueError, match="fold it first"):
        save(tmp_path / "net", Supernet(folded_supernet.space), description)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["weights.safetensors", "norm.safetensors"])
@pytest.mark.parametrize("keep", [0, 7, 1000])
def test_truncated_numbers(folder: Path, name: str, keep: int) -> None:
    (folder / name).write_bytes((folder / name).read_bytes()[:keep])
    assert f"{name} is truncated or changed" in refusal(folder)


@pytest.mark.parametrize("name", ["weights.safetensors", "norm.safetensors", "artifact.json"])
def test_a_missing_file(folder: Path, name: str) -> None:
    (folder / name).unlink()
    assert f"{name}: No such file or directory" in refusal(folder)


def test_every_bad_key_is_listed(folder: Path) -> None:
    def change(tensors: dict[str, Tensor]) -> None:
        del tensors["first_conv.weight"], tensors["classifier.bias"]
        tensors["stranger"] = torch.zeros(1)
        tensors["classifier.weight"] = torch.zeros(3, 2)

    edit_tensors(folder, "weights", change)
    message = refusal(folder)
    assert "missing classifier.bias; missing first_conv.weight; unexpected stranger" in message
    assert "classifier.weight has shape [3, 2], expected [10, 32]" in message


def test_every_bad_affine_is_listed(folder: Path) -> None:
    def change(tensors: dict[str, Tensor]) -> None:
        del tensors["head|final_expand|shift"]
        tensors["stranger|conv|scale"] = torch.zeros(1)
        tensors["stem|first_conv|scale"] = torch.zeros(3)

    edit_tensors(folder, "norm", change)
    message = refusal(folder)
    assert "missing head|final_expand|shift" in message
    assert "unexpected stranger|conv|scale" in message
    assert "stem|first_conv|scale has shape [3], expected [8]" in message


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_another_schema_version(folder: Path, version: object) -> None:
    edit_manifest(folder, lambda document: document.update(schema_version=version))
    assert f"schema_version {version!r}: this version reads 1" in refusal(folder)


def test_a_file_instead_of_a_folder(folder: Path) -> None:
    assert "expected a folder" in refusal(folder / "artifact.json")


def test_nothing_there(tmp_path: Path) -> None:
    assert "expected a folder" in refusal(tmp_path / "nothing")


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"3", b"\xff\xfe\x00", b"not json"])
def test_a_manifest_that_is_not_json(folder: Path, content: bytes) -> None:
    (folder / "artifact.json").write_bytes(content)
    assert "artifact.json is not a JSON document" in refusal(folder)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda d: d.pop("labels"), "labels: Field required"),
        (lambda d: d.update(colour="red"), "colour: Extra inputs are not permitted, got 'red'"),
        (lambda d: d.update(labels=["one"]), "labels: expected 10, got 1"),
        (lambda d: d["preprocessing"].update(std=[0.0]), "preprocessing.std.0"),
        (lambda d: d["preprocessing"].update(mean=[0.1, 0.2]), "preprocessing.mean: expected 1"),
        (lambda d: d["catalog"]["entries"][0].update(subnet="d9-9@12"), "subnet d9-9@12: expected"),
        (lambda d: d["catalog"]["entries"][0].update(accuracy=2.0), "catalog.entries.0.accuracy"),
    ],
)
def test_a_manifest_with_a_bad_field(
    folder: Path, change: Callable[[dict[str, Any]], object], expected: str
) -> None:
    edit_manifest(folder, change)
    assert expected in refusal(folder)


def test_overwriting_leaves_only_the_new_one(
    folder: Path, folded_supernet: Supernet, description: Description
) -> None:
    (folder / "left-over").touch()
    other = Description("other", description.preprocessing, description.labels)
    save(folder, folded_supernet, other)
    loaded = load(folder)
    assert loaded.manifest.name == "other"
    assert loaded.manifest.catalog == Catalog()
    assert read_bundled_tables(folder) == []
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    assert not (folder / "left-over").exists()


def test_a_catalog_can_be_replaced_alone(folder: Path) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    manifest = read_manifest(folder)
    fewer = Catalog(entries=manifest.catalog.entries[:2])
    save_catalog(folder, fewer)
    assert load(folder).manifest == manifest.model_copy(update={"catalog": fewer})
    save_catalog(folder, manifest.catalog)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_what_is_not_an_artifact_is_never_removed(
    tmp_path: Path, folded_supernet: Supernet, description: Description
) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter-1").write_text("years of work")
    (tmp_path / "letter").write_text("dear reader")
    for name in ("thesis", "letter"):
        with pytest.raises(ValueError, match="something else is there"):
            save(tmp_path / name, folded_supernet, description)
    assert (tmp_path / "thesis" / "chapter-1").read_text() == "years of work"
    assert (tmp_path / "letter").read_text() == "dear reader"
    (tmp_path / "empty").mkdir()
    save(tmp_path / "empty", folded_supernet, description)
    assert load(tmp_path / "empty").manifest.name == description.name


@pytest.mark.parametrize("failing_write", range(5))
def test_a_full_disk_leaves_the_old_one_whole(
    folder: Path,
    folded_supernet: Supernet,
    description: Description,
    tables: tuple[LatencyTable, LatencyTable],
    monkeypatch: pytest.MonkeyPatch,
    failing_write: int,
) -> None:
    before = {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    writes = []

    def full(path: Path, data: bytes) -> None:
        writes.append(path)
        if len(writes) > failing_write:
            path.write_bytes(data[: len(data) // 2])
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        path.write_bytes(data)

    monkeypatch.setattr(durable, "write_file", full)
    with pytest.raises(OSError, match="No space left"):
        save(folder, folded_supernet, description, tables)
    after = {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert after == before
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_a_subnet_of_a_loaded_artifact_takes_no_gradient(artifact_folder: Path) -> None:
    supernet = load(artifact_folder).supernet
    logits = supernet(torch.zeros(1, 1, 12, 12), Architecture((2, 2), 12))
    assert not logits.requires_grad
    assert not supernet.training
