"""The training commands as a user runs them, on real images, killed and run again."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from supernet import artifact
from supernet.shipped import artifact_folder
from tests.exit_status import exit_status
from training.cli import main
from training.images.fashion_mnist import DEBIAN_FOLDER

pytestmark = pytest.mark.skipif(
    not DEBIAN_FOLDER.is_dir(), reason="Debian's dataset-fashion-mnist is not installed"
)

RECIPE = """
name = "quick"
design_space = "fashion-mnist-mbv3"
dataset = "fashion-mnist"
batch_size = 16
validation_images = 5000
evaluation_images = 10
profile = false
train_images = 128
mean = [0.286]
std = [0.353]
teacher = "teacher"
checkpoint_steps = 2

[[phases]]
name = "teacher"
epochs = 1.0
learning_rate = 0.05
subnets = ["largest"]

[[phases]]
name = "compound"
epochs = 0.4
learning_rate = 0.02
subnets = ["random", "random", "random", "random"]
distillation = 1.0
sort_channels = true
"""
FOLD = """
[[phases]]
name = "fold"
epochs = 0.3
learning_rate = 0.002
subnets = ["largest", "smallest"]
distillation = 1.0
normalization = "piece-affine"
"""


def _command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "training", *map(str, arguments)]


def _run_as_process(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, capture_output=True, text=True, timeout=300, check=False, stdin=subprocess.DEVNULL
    )


def _run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """A command in this process, where torch is loaded already."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        status = exit_status(main, *arguments)
    return subprocess.CompletedProcess(arguments, status, out.getvalue(), err.getvalue())


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "quick.toml"
    path.write_text(RECIPE + FOLD)
    return path


@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    ("only", "listed"),
    [(("--subnet", "d2-3-4-2-3@20"), 1), pytest.param((), 729, marks=pytest.mark.slow)],
)
def test_killed_run_goes_on_and_ends_with_the_same_net(
    recipe: Path, tmp_path: Path, only: tuple[str, ...], listed: int
) -> None:
    whole = _run("train", recipe, *only, "--out", tmp_path / "whole", "--threads", "1")
    assert whole.returncode == 0, whole.stderr
    cut = tmp_path / "cut"
    arguments: tuple[str | Path, ...] = ("train", recipe, *only, "--out", cut)
    process = subprocess.Popen(
        _command(*arguments), stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _wait_for(cut / "checkpoint.pt", process)
    os.kill(process.pid, signal.SIGKILL)
    process.wait(timeout=30)
    assert not (cut / "artifact").exists()
    again = _run_as_process(_command(*arguments))
    assert again.returncode == 0, again.stderr
    first, second = (artifact.load(tmp_path / run / "artifact") for run in ("whole", "cut"))
    assert first.manifest.artifact_hash == second.manifest.artifact_hash
    assert len(first.manifest.catalog) == listed
    assert first.manifest.ledger is not None
    assert [phase.name for phase in first.manifest.ledger.phases] == ["teacher", "compound", "fold"]
    written = (cut / "artifact" / "artifact.json").stat().st_mtime_ns
    once_more = _run(*arguments)
    assert "finished before" in once_more.stderr
    assert (cut / "artifact" / "artifact.json").stat().st_mtime_ns == written
    if only:
        other = _run(*arguments, "--evaluation-images", "7")
        assert other.returncode == 0, other.stderr
        assert "finished before" not in other.stderr


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_net_without_a_fold_phase_keeps_statistics_of_every_subnet(tmp_path: Path) -> None:
    path, out = tmp_path / "unfolded.toml", tmp_path / "run"
    path.write_text(RECIPE)
    trained = _run("train", path, "--out", out)
    assert trained.returncode == 0, trained.stderr
    _check_statistics(out / "artifact", "d2-3-4-2-3@20")


@pytest.mark.timeout(400)
def test_subnet_without_a_fold_phase_has_statistics_and_can_be_folded(tmp_path: Path) -> None:
    path, out, subnet = tmp_path / "unfolded.toml", tmp_path / "run", "d2-2-2-2-2@20"
    path.write_text(RECIPE)
    trained = _run("train", path, "--subnet", subnet, "--out", out)
    assert trained.returncode == 0, trained.stderr
    _check_statistics(out / "artifact", subnet)
    folded = _run("fold", out / "artifact", "--epochs", "0.01", "--evaluation-images", "50",
                  "--out", tmp_path / "folded")  # fmt: skip
    assert folded.returncode == 0, folded.stderr
    manifest = artifact.load(tmp_path / "folded" / "artifact").manifest
    assert manifest.normalization == "piece-affine"
    assert manifest.name == artifact.load(out / "artifact").manifest.name
    again = _run("fold", tmp_path / "folded" / "artifact", "--out", tmp_path / "again")
    assert again.returncode == 1
    assert "is folded already" in again.stderr


def _check_statistics(folder: Path, subnet: str) -> None:
    """They are there, can be measured anew, and `subnet` be evaluated with them."""
    assert artifact.load(folder).manifest.normalization == "subnet-statistics"
    calibrated = _run("calibrate", folder, "--images", "40")
    assert calibrated.returncode == 0, calibrated.stderr
    evaluated = _run("evaluate", folder, "--subnet", subnet, "--images", "500", "--json")
    assert evaluated.returncode == 0, evaluated.stderr
    (entry,) = json.loads(evaluated.stdout)
    assert entry["subnet"] == subnet
    assert 0.0 <= entry["accuracy"] <= 1.0


@pytest.mark.timeout(400)
def test_two_processes_train_as_one(tmp_path: Path) -> None:
    """The same loss at every step, whoever computes which micro-batch."""
    path = tmp_path / "shared.toml"
    rate = "learning_rate = "
    path.write_text((RECIPE + FOLD).replace(rate, f"micro_batches = 2\n{rate}"))
    alone, together = tmp_path / "alone", tmp_path / "together"
    arguments = ("train", path, "--subnet", "d2-2-2-2-2@20", "--threads", "1", "--out")
    one = _run(*arguments, alone)
    assert one.returncode == 0, one.stderr
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    many = ("--nproc-per-node", "2", "-m", "training")
    two = _run_as_process([*launcher, *many, *map(str, arguments), str(together)])
    assert two.returncode == 0, two.stderr
    curves = [_losses(folder / "log.jsonl") for folder in (alone, together)]
    assert len(curves[0]) > 10
    assert curves[1] == pytest.approx(curves[0], abs=2e-4)
    ledger = artifact.load(together / "artifact").manifest.ledger
    assert ledger is not None
    assert ledger.processes == 2
    assert two.stdout.count("artifact: ") == 1, "one process speaks"


def _losses(log: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in log.read_text("utf-8").splitlines()]


@pytest.mark.timeout(400)
def test_one_subnet_of_the_shipped_net_fine_tuned_stands_alone(tmp_path: Path) -> None:
    recipe, out = tmp_path / "tune.toml", tmp_path / "run"
    shipped = (Path("training/recipes/fine-tune.toml")).read_text("utf-8")
    recipe.write_text(shipped.replace("batch_size", "train_images = 640\nbatch_size", 1))
    subnet = "d2-3-4-2-3@24"
    done = _run("train", recipe, "--from", artifact_folder(), "--subnet", subnet,
                "--evaluation-images", "300", "--out", out)  # fmt: skip
    assert done.returncode == 0, done.stderr
    tuned = artifact.load(out / "artifact")
    assert list(tuned.manifest.catalog.subnets()) == [subnet]
    assert tuned.manifest.catalog[subnet].accuracy > 0.85
    assert tuned.manifest.normalization == "piece-affine"
    assert tuned.manifest.ledger is not None
    assert tuned.manifest.ledger.start is not None
    whole = (artifact_folder() / "weights.safetensors").stat().st_size
    assert (out / "artifact" / "weights.safetensors").stat().st_size < whole / 2


FOLDER_RECIPE = """
name = "own-images"
design_space = "fashion-mnist-mbv3"
batch_size = 8
validation_images = 6
mean = [0.4]
std = [0.3]
profile = false
unreadable_images = "skip"

[[phases]]
name = "only"
epochs = 12
learning_rate = 0.05
subnets = ["largest"]

[[phases]]
name = "fold"
epochs = 1
learning_rate = 0.005
subnets = ["largest"]
normalization = "piece-affine"
"""


@pytest.mark.timeout(400)
def test_a_folder_of_images_of_ones_own_is_learnt(tmp_path: Path) -> None:
    """Three classes told apart by where the bright bar is; one file is no image."""
    path, data = tmp_path / "own.toml", tmp_path / "data"
    path.write_text(FOLDER_RECIPE)
    for split, images in (("train", 24), ("val", 8)):
        for place, name in enumerate(("bottom", "middle", "top")):
            folder = data / split / name
            folder.mkdir(parents=True)
            for i in range(images):
                pixels = np.random.default_rng(i).integers(0, 60, (28, 28), np.uint8)
                pixels[20 - 8 * place : 24 - 8 * place] = 250
                Image.fromarray(pixels).save(folder / f"{i}.png")
    (data / "train" / "top" / "notes.png").write_text("not an image")
    train = ("train", path, "--data", data, "--subnet", "d2-2-2-2-2@28")
    done = _run_as_process(_command(*train, "--workers", "1", "--out", tmp_path / "run"))
    assert done.returncode == 0, done.stderr
    assert "notes.png" in done.stderr
    manifest = artifact.load(tmp_path / "run" / "artifact").manifest
    assert manifest.labels == ("bottom", "middle", "top")
    (data / "train" / "top" / "0.png").rename(data / "train" / "top" / "more.png")
    again = _run(*train, "--out", tmp_path / "run")
    assert again.returncode == 1
    assert "other images" in again.stderr
    (entry,) = manifest.catalog.entries
    assert entry.accuracy > 0.8
    assert entry.test_accuracy is None


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["train", "no-such-recipe"], 1, "no-such-recipe"),
        (["train", "."], 1, "Is a directory"),
        (["train", "fashion-mnist", "--data", "/"], 1, "Fashion-MNIST's four"),
        (["train", "fashion-mnist", "--threads", "0"], 2, "expected a whole number"),
        (["train"], 2, "recipe"),
        (["train", "fine-tune"], 1, "give --from ARTIFACT"),
        (["train", "fast", "--subnet", "d9-9@1"], 1, "subnet d9-9@1: expected 5 depths"),
        (["train", "fast", "--until", "end"], 1, "phase 'end': expected one of"),
        (["train", "imagenet-fast"], 1, "give --data with a folder of images"),
        (["train", "fast", "--country", "Mars"], 1, "expected three capital letters"),
        (["fold", "no-such-folder"], 1, "expected a folder"),
        (["evaluate", "no-such-folder"], 1, "expected a folder"),
        (["profile", ".", "--device-class", "Bad Name", "--out", "t.json"], 1, "device class"),
        (["calibrate", "."], 1, "artifact.json"),
    ],
)
def test_bad_input_is_one_line(arguments: list[str], status: int, message: str) -> None:
    done = _run(*arguments)
    assert done.returncode == status
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def _wait_for(path: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while not path.exists():
        assert process.poll() is None, "the run ended before its first checkpoint"
        assert time.monotonic() < deadline
        time.sleep(0.05)
