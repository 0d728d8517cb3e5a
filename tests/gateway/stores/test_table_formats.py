"""Tables from and to files: what is imported, what is left out and said, what is refused."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.request import Constraints
from gateway.select import Candidates, select
from gateway.stores.table_formats import Target, read_json, read_ofa_lut, write_ofa_lut
from supernet.catalog import Catalog
from supernet.latency import Blocks, BlockTime, LatencyTable
from supernet.lookup_table import LookupTable
from supernet.lookup_table_files import write_lookup_tables
from supernet.manifest import Manifest, read_manifest
from supernet.presets import imagenet_mbv3
from tests.gateway.command_line import Cli, failed
from tests.supernet.block_times import made_up

NOTE10 = Path(__file__).parents[4] / "shared/data/note10"
PREDICTOR = NOTE10.parent / "ofa_accuracy_predictor.pth"


def written(folder: Path, blocks: Blocks) -> Path:
    folder.mkdir(exist_ok=True)
    for name, data in write_lookup_tables(blocks).items():
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture
def manifest(artifact_folder: Path) -> Manifest:
    """Of nine subnets at each of 12 and 16 pixels."""
    return read_manifest(artifact_folder)


def test_every_subnet_is_summed_and_the_blocks_are_kept(manifest: Manifest, tmp_path: Path) -> None:
    space = manifest.design_space
    blocks = made_up(space, space.resolutions)
    target = Target(manifest, "board", 3.0)
    table = read_ofa_lut(written(tmp_path / "board-1", blocks), target)
    lookup = LookupTable(space, blocks, {})
    assert table.latency_ms == {a.id: lookup.latency_ms(a) for a in space.enumerate()}
    assert table.blocks == blocks
    assert (table.device_class, table.default_budget_ms) == ("board", 3.0)
    assert table.artifact_hash == manifest.artifact_hash
    assert (table.source, table.measured) == ("imported: board-1", False)
    assert target.notes == []


def test_what_cannot_be_used_is_left_out_and_said(manifest: Manifest, tmp_path: Path) -> None:
    blocks = made_up(manifest.design_space, [12, 24])
    target, folder = Target(manifest, "board", None), written(tmp_path / "lut", blocks)
    table = read_ofa_lut(folder, target)
    assert len(table.latency_ms) == 9
    assert all(subnet.endswith("@12") for subnet in table.latency_ms)
    assert list(table.blocks) == [12]
    assert target.notes == [
        f"{folder}/24_lookup_table.yaml: not used: the artifact's resolutions are 12, 16",
        "no file for resolution 16: its 9 subnets are left out",
    ]


def test_a_folder_of_no_use_at_all(manifest: Manifest, tmp_path: Path) -> None:
    folder = written(tmp_path / "lut", made_up(manifest.design_space, [24]))
    target = Target(manifest, "board", None)
    with pytest.raises(ValueError, match=r"24_lookup.*: the artifact's resolutions are 12, 16$"):
        read_ofa_lut(folder, target)


def test_a_missing_key_is_named_with_its_file(manifest: Manifest, tmp_path: Path) -> None:
    blocks = made_up(manifest.design_space, [12, 16])
    gone = "Logits-input:1x1x32-output:10"
    del blocks[16][gone]
    folder = written(tmp_path / "lut", blocks)
    with pytest.raises(ValueError, match="there is no") as caught:
        read_ofa_lut(folder, Target(manifest, "board", None))
    assert str(caught.value) == (
        f"latency table {folder}/16_lookup_table.yaml: there is no '{gone}'"
    )


def test_an_empty_catalog_has_nothing_to_sum(manifest: Manifest, tmp_path: Path) -> None:
    folder = written(tmp_path / "lut", made_up(manifest.design_space, [12]))
    empty = manifest.model_copy(update={"catalog": Catalog()})
    with pytest.raises(ValueError, match="catalog is empty: 'compofa evaluate --write' fills it"):
        read_ofa_lut(folder, Target(empty, "board", None))


def test_the_commands(
    capsys: pytest.CaptureFixture[str],
    manifest: Manifest,
    artifact_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COMPOFA_STATE_DIR", str(tmp_path / "state"))
    cli, own = Cli(capsys), ["--artifact", artifact_folder, "--device-class", "board"]
    folder = written(tmp_path / "lut", made_up(manifest.design_space, [12, 24]))
    into = ["tables", "import", folder, *own, "--format", "ofa-lut"]
    status, out, err = cli(*into, "--default-budget-ms", "99")
    assert (status, out) == (0, "board: version 1, 9 subnets\n")
    assert [line.partition(": ")[0] for line in err.splitlines()] == ["compofa", "compofa"]

    export = ["tables", "export", *own, "--format", "ofa-lut", "--out"]
    assert cli(*export, tmp_path / "out") == (0, "", "")
    (back,) = (tmp_path / "out").iterdir()
    assert back.read_bytes() == (folder / back.name).read_bytes()
    assert "give a new or empty folder" in failed(cli(*export, tmp_path / "out"))
    assert "--out: expected a folder" in failed(cli(*export[:-1]))
    bundled = ["--artifact", artifact_folder, "--device-class", "alpha", *export[-3:]]
    assert "export it as json" in failed(cli("tables", "export", *bundled, tmp_path / "alpha"))
    assert not (tmp_path / "alpha").exists()

    file = folder / "12_lookup_table.yaml"
    into[2] = file
    assert f"{file}: is not a folder" in failed(cli(*into))
    into[2], into[-1] = folder, "json"
    assert f"{folder}: Is a directory" in failed(cli(*into))
    file.write_text(file.read_text().replace("mean: 0.", "mean: -0.", 1))
    into[-1] = "ofa-lut"
    assert f"{file}: line " in failed(cli(*into))  # and nothing of what would be left out


MS = st.one_of(st.floats(0.001, 1e3), st.sampled_from([1e-9, 1 / 3, 5e-324, 2.0]))


@given(data=st.data())
@settings(max_examples=20)
def test_an_exported_table_is_imported_as_it_was(
    data: st.DataObject, artifact_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    manifest = read_manifest(artifact_folder)
    resolutions = data.draw(st.sampled_from([[12], [16], [12, 16]]))
    seed = data.draw(st.integers(0, 2**32))
    drawn: Blocks = {
        resolution: {key: time.model_copy(update={"mean": data.draw(MS)}) if i % 7 == 0 else time
                     for i, (key, time) in enumerate(times.items())}
        for resolution, times in made_up(manifest.design_space, resolutions, seed).items()
    }  # fmt: skip
    folder = tmp_path_factory.mktemp("tables") / "lut"
    first = read_ofa_lut(written(folder, drawn), Target(manifest, "board", 2.0))
    shutil.rmtree(folder)
    folder.mkdir()
    for name, content in write_ofa_lut(first).items():
        (folder / name).write_bytes(content)
    again = read_ofa_lut(folder, Target(manifest, "board", 2.0))
    assert again.model_copy(update={"created": first.created}) == first
    # And by way of JSON, as a store keeps it.
    path = folder / "table.json"
    path.write_text(first.model_dump_json())
    assert read_json(path, Target(manifest, "board", None)) == first


def test_a_table_without_blocks_is_not_exported(tables: tuple[LatencyTable, LatencyTable]) -> None:
    with pytest.raises(ValueError, match=r"'alpha': its table holds .* whole subnets, none of b"):
        write_ofa_lut(tables[0])


@pytest.mark.parametrize(
    "times", [{"x": BlockTime(mean=0)}, {"x": BlockTime(mean=1e308), "y": BlockTime(mean=1e308)}]
)
def test_sums_that_are_no_latency_are_refused(
    manifest: Manifest, tmp_path: Path, times: dict[str, BlockTime]
) -> None:
    ms = list(times.values())
    keys = made_up(manifest.design_space, [12])[12]
    blocks = {12: {key: ms[i % len(ms)] for i, key in enumerate(keys)}}
    folder = written(tmp_path / "lut", blocks)
    with pytest.raises(ValueError, match=f"latency table {folder}: latency_ms.d2-2@12: ") as caught:
        read_ofa_lut(folder, Target(manifest, "board", None))
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read anything")
def test_a_file_that_may_not_be_read(manifest: Manifest, tmp_path: Path) -> None:
    folder = written(tmp_path / "lut", made_up(manifest.design_space, [12]))
    (folder / "12_lookup_table.yaml").chmod(0)
    with pytest.raises(ValueError, match="Permission denied"):
        read_ofa_lut(folder, Target(manifest, "board", None))


@pytest.fixture(scope="module")
def published() -> Manifest:
    """Of a net for ImageNet, width 1.2, whose catalog the published predictor has filled."""
    from supernet.accuracy_predictor import TRAINED_RESOLUTIONS, AccuracyPredictor

    if not NOTE10.exists():
        pytest.skip("needs ../shared/data beside the repository")
    space = imagenet_mbv3(width=1.2)
    archs = [a for a in space.enumerate() if a.resolution in TRAINED_RESOLUTIONS]
    accuracies = AccuracyPredictor.read(PREDICTOR).predict(space, archs)
    entries = [
        {"subnet": arch.id, "accuracy": accuracy, "macs": 0, "parameters": 0}
        for arch, accuracy in zip(archs, accuracies, strict=True)
    ]
    return Manifest.model_validate({
        "name": "net", "design_space": space, "labels": list(map(str, range(1000))),
        "preprocessing": {"mean": [0] * 3, "std": [1] * 3}, "normalization": "piece-affine",
        "catalog": {"entries": entries, "predicted_by": PREDICTOR.name},
        "weights_sha256": "0" * 64, "norm_sha256": "1" * 64,
    })  # fmt: skip


@pytest.mark.parametrize(
    ("budget_ms", "subnet", "accuracy"),
    [
        (15, "d2-3-2-3-3@160", 0.7740),
        (20, "d2-3-2-3-3@192", 0.7965),
        (25, "d2-3-3-3-4@192", 0.8079),
        (30, "d2-3-3-4-4@192", 0.8142),
    ],
)
def test_the_best_subnets_of_a_real_phone(
    published: Manifest, budget_ms: float, subnet: str, accuracy: float
) -> None:
    target = Target(published, "note10", None)
    table = read_ofa_lut(NOTE10, target)
    assert len(table.latency_ms) == 4 * 243
    assert [note.rpartition("/")[2] for note in target.notes] == [
        "176_lookup_table.yaml: not used: the artifact's resolutions are 128, 160, 192, 208, 224"
    ]
    chosen = select(Candidates(published.catalog, table), Constraints("note10", budget_ms))
    assert chosen.subnet == subnet
    assert chosen.accuracy == pytest.approx(accuracy, abs=5e-5)
    assert chosen.latency_ms <= budget_ms
    assert write_ofa_lut(table) == {
        f"{r}_lookup_table.yaml": (NOTE10 / f"{r}_lookup_table.yaml").read_bytes()
        for r in (160, 192, 208, 224)
    }


def test_a_net_of_another_width_is_told_so(published: Manifest) -> None:
    narrow = published.model_copy(update={"design_space": imagenet_mbv3()})
    with pytest.raises(ValueError, match="there is no") as caught:
        read_ofa_lut(NOTE10, Target(narrow, "note10", None))
    assert str(caught.value) == (
        f"latency table {NOTE10}/160_lookup_table.yaml: there is no "
        "'Conv-input:160x160x3-output:80x80x16'; the table looks like imagenet-mbv3 of width 1.2, "
        "and the net has width 1"
    )
