from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from supernet.manifest import read_manifest
from tests.gateway.command_line import Cli, failed


@pytest.fixture(autouse=True)
def _own_state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COMPOFA_STATE_DIR", str(tmp_path / "state"))


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image.png"
    Image.fromarray(np.full((16, 16), 90, np.uint8)).save(path)
    return path


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(capsys)


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["nonsense"],
        ["search"],
        ["search", "somewhere"],
        ["search", "somewhere", "--device-class", "a", "--latency-ms", "soon"],
        ["tables"],
        ["tables", "import", "x.json", "--device-class", "a", "--format", "yaml"],
    ],
)
def test_bad_usage(cli: Cli, argv: list[str]) -> None:
    assert "--help" in failed(cli(*argv), status=2)


def test_artifacts_that_cannot_be_read(cli: Cli, artifact_folder: Path, tmp_path: Path) -> None:
    options = ["--device-class", "alpha"]
    assert "expected a folder" in failed(cli("search", tmp_path / "nothing", *options))
    broken = tmp_path / "broken"
    shutil.copytree(artifact_folder, broken)
    manifest = broken / "artifact.json"
    manifest.write_bytes(manifest.read_bytes()[:100])
    assert "may be truncated" in failed(cli("search", broken, *options))
    manifest.write_text('{"schema_version": 99}')
    assert "schema_version 99" in failed(cli("search", broken, *options))
    assert "schema_version 99" in failed(cli("serve", broken))
    shutil.copy(artifact_folder / "artifact.json", manifest)
    weights = broken / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    assert "weights.safetensors is truncated" in failed(cli("serve", broken))
    (broken / "tables" / "alpha.json").write_text("{}")
    assert "alpha.json" in failed(cli("search", broken, *options))


def test_serve_with_options_that_make_no_sense(cli: Cli, artifact_folder: Path) -> None:
    assert "port: " in failed(cli("serve", artifact_folder, "--port", "70000"))
    assert "workers: " in failed(cli("serve", artifact_folder, "--workers", "0"))
    learn = ("serve", artifact_folder, "--learn-latency")
    assert "learning.min_clients: " in failed(cli(*learn, "--learn-min-clients", "2"))
    assert "learning.max_step: " in failed(cli(*learn, "--learn-max-step", "soon"))
    assert "exports.max_builds: " in failed(
        cli("serve", artifact_folder, "--max-export-builds", "0")
    )
    assert "exports.max_cache_bytes: " in failed(
        cli("serve", artifact_folder, "--max-export-cache-mib", "0")
    )
    assert "exports.max_build_s: " in failed(
        cli("serve", artifact_folder, "--max-export-build-s", "0")
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--no-fetch", "--max-fetches", "3"), "--max-fetches: has no meaning with --no-fetch"),
        (("--learn-max-step", "2"), "--learn-max-step: has no meaning without --learn-latency"),
    ],
)
def test_options_that_need_another_are_a_mistake_of_the_command(
    cli: Cli, artifact_folder: Path, options: tuple[str, ...], said: str
) -> None:
    assert failed(cli("serve", artifact_folder, *options), 2) == f"compofa: {said}\n"


def test_a_table_goes_in_and_out_and_back(cli: Cli, artifact_folder: Path, tmp_path: Path) -> None:
    own = ["--artifact", artifact_folder, "--device-class", "phone"]
    plain = tmp_path / "plain.json"
    plain.write_text(json.dumps({"d2-2@12": 1.0, "d4-4@16": 2.0}))
    into = ["tables", "import", plain, *own, "--format", "json"]
    assert cli(*into, "--default-budget-ms", "1.5")[:2] == (0, "phone: version 1, 2 subnets\n")
    assert searched(cli, artifact_folder) == "d2-2@12"
    assert cli(*into, "--default-budget-ms", "2.5")[:2] == (0, "phone: version 2, 2 subnets\n")
    assert searched(cli, artifact_folder) == "d4-4@16"

    listed = cli.json("tables", "list", "--artifact", artifact_folder)
    assert isinstance(listed, list)
    assert [(t["name"], t["version"]) for t in listed] == [("alpha", 0), ("beta", 0), ("phone", 2)]

    out = tmp_path / "out.json"
    assert cli("tables", "export", *own, "--out", out)[0] == 0
    assert cli("tables", "rollback", *own)[:2] == (0, "phone: version 1\n")
    assert searched(cli, artifact_folder) == "d2-2@12"
    shown = cli.json("tables", "show", *own)
    assert isinstance(shown, list)
    assert [(t["version"], t["current"]) for t in shown] == [(1, True), (2, False)]
    assert "the oldest there is" in failed(cli("tables", "rollback", *own))
    assert "came with this artifact" in failed(cli("tables", "rollback", *own, "--version", "0"))

    again = ["tables", "import", out, *own, "--format", "json"]
    assert cli(*again)[:2] == (0, "phone: version 3, 2 subnets\n")
    assert searched(cli, artifact_folder) == "d4-4@16"
    assert cli("tables", "delete", *own)[:2] == (0, "phone: deleted\n")
    assert "no table for it" in failed(cli("tables", "delete", *own))
    assert "not known" in failed(cli("tables", "show", *own))


def searched(cli: Cli, artifact: Path) -> object:
    found = cli.json("search", artifact, "--device-class", "phone")
    assert isinstance(found, dict)
    return found["subnet"]


def test_a_bundled_table_is_hidden_not_lost(
    cli: Cli, artifact_folder: Path, tmp_path: Path
) -> None:
    own = ["--artifact", artifact_folder, "--device-class", "alpha"]
    plain = tmp_path / "plain.json"
    plain.write_text(json.dumps({"d2-2@12": 1.0}))
    cli("tables", "import", plain, *own, "--format", "json")
    status, out, _ = cli("tables", "show", *own)
    assert status == 0
    assert "1 (current)" in out
    assert cli("tables", "rollback", *own)[:2] == (0, "alpha: version 0\n")
    exported = json.loads(cli("tables", "export", *own)[1])
    assert len(exported["latency_ms"]) == 18
    assert "came with the artifact" in cli("tables", "delete", *own)[1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "not a JSON document"),
        ("[1]", "expected a JSON object"),
        ("{}", "latency_ms: "),
        ('{"d2-2@12": -1}', "latency_ms.d2-2@12: "),
        ('{"d2-2@12": NaN}', "latency_ms.d2-2@12: "),
        ('{"d2-2@12": "soon"}', "latency_ms.d2-2@12: "),
        ('{"d9-9@12": 1}', "not in the artifact's catalog: d9-9@12"),
        ('{"latency_ms": {"d2-2@12": 1}, "source": 5}', "source: "),
        ('{"latency_ms": {"d2-2@12": 1}, "artifact_hash": "x"}', "belongs to another artifact"),
    ],
)
def test_a_table_that_makes_no_sense_is_not_kept(
    cli: Cli, artifact_folder: Path, tmp_path: Path, content: str, message: str
) -> None:
    path = tmp_path / "table.json"
    path.write_text(content)
    own = ["--artifact", artifact_folder, "--device-class", "phone"]
    said = failed(cli("tables", "import", path, *own, "--format", "json"))
    assert str(path) in said
    assert message in said
    assert not (tmp_path / "state").exists()


def test_a_corrupt_store_is_named(cli: Cli, artifact_folder: Path, tmp_path: Path) -> None:
    store = tmp_path / "store.sqlite3"
    store.write_bytes(b"no database" * 100)
    options = ["--device-class", "alpha", "--store", f"sqlite://{store}"]
    assert f"table store {store}" in failed(cli("search", artifact_folder, *options))


def test_infer_here(cli: Cli, artifact_folder: Path, image: Path) -> None:
    options = ["--artifact", artifact_folder, "--device-class", "beta"]
    answers = cli.json("infer", image, image, *options)
    assert isinstance(answers, list)
    assert [set(answer) for answer in answers] == 2 * [
        {"subnet", "class", "label", "expected_accuracy", "predicted_latency_ms", "compute_ms",
         "queue_ms", "degraded"}
    ]  # fmt: skip
    labels = read_manifest(artifact_folder).labels
    assert answers[0]["label"] == labels[answers[0]["class"]]
    assert answers[0]["degraded"] is False
    status, out, _ = cli("infer", image, *options)
    assert status == 0
    assert answers[0]["subnet"] in out


def test_infer_names_the_image_that_is_bad(
    cli: Cli, artifact_folder: Path, image: Path, tmp_path: Path
) -> None:
    options = ["--artifact", artifact_folder, "--device-class", "alpha", "--json"]
    text = tmp_path / "text.png"
    text.write_text("not an image")
    assert f"{text}: image: expected" in failed(cli("infer", image, text, *options))
    missing = tmp_path / "missing.png"
    assert f"{missing}: No such file" in failed(cli("infer", missing, *options))
    assert f"{tmp_path}: Is a directory" in failed(cli("infer", tmp_path, *options))
    unreachable = ["--target", "127.0.0.1:1", "--device-class", "alpha"]
    assert "UNAVAILABLE" in failed(cli("infer", image, *unreachable))
    both = ["--target", "127.0.0.1:1", *options]
    assert "--target" in failed(cli("infer", image, *both))
