"""The image is built nowhere here: its steps are compared with the Makefile's, and run in a folder
with just the files that a build would see."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import grpc
import pytest
import yaml
from grpc_health.v1 import health_pb2, health_pb2_grpc
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from gateway.config import ServerConfig
from gateway.services import native
from tests.image.dockerfile import ROOT, copied, is_sent, stages
from tests.redis_server import wait_until

ARGUMENTS, STAGES = stages()
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
IGNORE = (ROOT / ".dockerignore").read_text()
VALUES = yaml.safe_load((ROOT / "charts/compofa-gateway/values.yaml").read_text())
TARGETS = ("cpu", "cuda")


def makes(target: str) -> list[str]:
    """The words of the one `make` by which a variant is built, without its environment."""
    (run,) = STAGES[f"build-{target}"].all("RUN")
    words = shlex.split(run)
    return words[words.index("make") :]


def tracked() -> list[PurePosixPath]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    return [PurePosixPath(name) for name in listed.stdout.decode().split("\0") if name]


def sent() -> list[PurePosixPath]:
    """The files of this checkout that a build's `COPY` finds."""
    sources = copied(STAGES["source"])
    return [
        path for path in tracked()
        if is_sent(path, IGNORE) and (path.parts[0] in sources) and (ROOT / path).exists()
    ]  # fmt: skip


def commands(*words: str) -> list[str]:
    """What make would run."""
    told = ["make", "--dry-run", "--always-make", "--no-print-directory", *words]
    done = subprocess.run(told, cwd=ROOT, capture_output=True, text=True, check=True)
    return [line for line in done.stdout.splitlines() if not line.startswith("touch ")]


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_is_installed_as_a_checkout_is(target: str) -> None:
    """But for what must differ: not editable, and with extras."""
    _, _, venv, extras = makes(target)
    ours = commands(*makes(target)[1:])
    checkout = commands(f"{venv.removeprefix('VENV=')}/.runtime", venv)
    names = extras.removeprefix("IMAGE_EXTRAS=")
    assert ours == [line.replace("-e .", f"'.[{names}]'") for line in checkout]
    assert set(names.split(",")) <= PYPROJECT["project"]["optional-dependencies"].keys()


@pytest.mark.parametrize("target", TARGETS)
def test_what_is_installed_is_what_the_image_holds_at_the_same_place(target: str) -> None:
    venv = makes(target)[2].removeprefix("VENV=")
    final = STAGES[target]
    assert final.all("COPY") == [f"--from=build-{target} {venv} {venv}"]
    base = STAGES[final.base]
    assert any(line.startswith(f"PATH={venv}/bin:") for line in base.all("ENV"))
    assert base.base == STAGES["source"].base, "a venv works only with the Python that made it"


def test_the_base_is_pinned_and_is_a_python_that_the_package_takes() -> None:
    found = re.fullmatch(r"python:(\d+\.\d+\.\d+)-slim-\w+", ARGUMENTS["PYTHON_IMAGE"])
    assert found is not None, "expected all three numbers, and Debian's name"
    assert found[1] in SpecifierSet(PYPROJECT["project"]["requires-python"])
    tested = re.search(r"\(Python (\d+\.\d+), Linux\)", (ROOT / "constraints.txt").read_text())
    assert tested is not None
    assert found[1].startswith(f"{tested[1]}."), "the pins were tested with another"


def test_a_build_sees_what_the_wheel_is_made_of_and_nothing_else() -> None:
    files = sent()
    top = {path.parts[0] for path in files}
    tools = PYPROJECT["tool"]["setuptools"]
    packages = {name.split(".")[0] for name in tools["packages"]}
    modules = {f"{name}.py" for name in tools["py-modules"]}
    project = PYPROJECT["project"]
    own = {"Makefile", "pyproject.toml", "constraints.txt"}
    assert top == packages | modules | own | {project["readme"], *project["license-files"]}
    assert not is_sent(PurePosixPath(".git/config"), IGNORE)
    assert not is_sent(PurePosixPath("runs/mine/checkpoint.pt"), IGNORE)
    assert not is_sent(PurePosixPath("gateway/__pycache__/cli.pyc"), IGNORE)
    assert {path for path in tracked() if is_sent(path, IGNORE)} == set(files)


def test_nobody_is_root_and_the_chart_says_the_same() -> None:
    base = STAGES["base"]
    context = VALUES["podSecurityContext"]
    (user,) = base.all("USER")
    assert user == f"{context['runAsUser']}:{context['runAsGroup']}"
    for target in TARGETS:
        assert not STAGES[target].all("USER")
        assert not STAGES[target].all("RUN"), "what comes last only copies"


def test_it_runs_the_command_and_names_the_ports() -> None:
    base = STAGES["base"]
    (entry,) = base.all("ENTRYPOINT")
    assert json.loads(entry)[0] in PYPROJECT["project"]["scripts"]
    fields = ServerConfig.model_fields
    ports = f"{fields['port'].default} {fields['metrics_port'].default}"
    assert base.all("EXPOSE") == [ports]


def test_a_cpu_image_takes_torch_s_builds_for_cpus() -> None:
    (run,) = STAGES["build-cpu"].all("RUN")
    assert "PIP_EXTRA_INDEX_URL=${TORCH_CPU_INDEX}" in shlex.split(run)
    (argument,) = STAGES["build-cpu"].all("ARG")
    assert argument.startswith("TORCH_CPU_INDEX=https://")
    assert "INDEX" not in str(STAGES["build-cuda"].instructions)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_steps_make_a_venv_that_serves_and_trains(tmp_path: Path) -> None:
    """As `build-cpu` does, with the environment's own index, and then as the image is started."""
    source, venv = tmp_path / "src", tmp_path / "opt"
    for path in sent():
        target = source / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, target)
    inside = makes("cpu")[2].removeprefix("VENV=")
    words = [word.replace(inside, str(venv)) for word in makes("cpu")]
    done = subprocess.run(
        words, cwd=source, capture_output=True, text=True, timeout=1500, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    shutil.rmtree(source)  # nothing of it is in the image
    _pins_were_kept(venv)
    trains = [str(venv / "bin/torchrun"), "--module", "training", "train", "--help"]
    subprocess.run(trains, capture_output=True, timeout=200, check=True, cwd=tmp_path)
    with _serving(venv, tmp_path) as port, grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        asked = health_pb2.HealthCheckRequest(service=native.SERVICE)
        health: Any = health_pb2_grpc.HealthStub(channel)
        answer = health.Check(asked, timeout=30)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING


def _pins_were_kept(venv: Path) -> None:
    pins = {
        requirement.name.lower().replace("_", "-"): requirement.specifier
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if not line.startswith("#")
        for requirement in [Requirement(line)]
    }
    listed = subprocess.run(
        [str(venv / "bin/python"), "-m", "pip", "list", "--format=json"],
        capture_output=True, check=True, timeout=200,
    )  # fmt: skip
    installed = {each["name"].lower().replace("_", "-"): each["version"]
                 for each in json.loads(listed.stdout)}  # fmt: skip
    own = {"compofa", "pip", "setuptools"}
    assert not installed.keys() - pins.keys() - own, "not pinned"
    assert [n for n, v in installed.items() if n in pins and v not in pins[n]] == []
    assert installed.keys().isdisjoint({"pytest", "mypy", "ruff"})


@contextmanager
def _serving(venv: Path, folder: Path) -> Iterator[int]:
    """The net that ships, served by the image's command with the image's PATH alone."""
    python = [str(venv / "bin/python"), "-c"]
    where = "from supernet import shipped; print(shipped.artifact_folder())"
    found = subprocess.run([*python, where], capture_output=True, text=True, check=True, cwd=folder)
    environment = {
        "PATH": f"{venv}/bin:{os.environ['PATH']}", "HOME": str(folder),
        "COMPOFA_STATE_DIR": str(folder),
    }  # fmt: skip
    ports = folder / "ports.json"
    told = ["compofa", "serve", found.stdout.strip(), "--port=0", "--metrics-port=0"]
    command = [*told, f"--port-file={ports}"]
    with subprocess.Popen(
        command, env=environment, cwd=folder, stderr=subprocess.DEVNULL,
        executable=venv / "bin/compofa",
    ) as process:  # fmt: skip
        try:
            wait_until(lambda: ports.exists() or process.poll() is not None, 200)
            assert process.poll() is None
            yield json.loads(ports.read_text())["port"]
        finally:
            process.terminate()
            process.wait(timeout=60)
