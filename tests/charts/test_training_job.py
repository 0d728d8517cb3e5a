"""What a training run is told, under each kind; the slow tests run what is rendered."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from supernet import artifact
from tests.charts import helm
from tests.charts.command_line import served
from tests.charts.rendering import (
    CLAIM,
    Object,
    container,
    pod,
    pod_templates,
    render,
    scenario,
)
from tests.redis_server import free_port
from training.images.fashion_mnist import DEBIAN_FOLDER

RECIPE = """
name = "quick"
design_space = "fashion-mnist-mbv3"
dataset = "fashion-mnist"
batch_size = 32
validation_images = 5000
evaluation_images = 20
profile = false
train_images = 64
mean = [0.286]
std = [0.353]

[[phases]]
name = "compound"
epochs = 1.0
learning_rate = 0.02
subnets = ["largest"]
micro_batches = 2
"""
KINDS = ("Job", "JobSet", "PyTorchJob")
needs_images = pytest.mark.skipif(
    not DEBIAN_FOLDER.is_dir(), reason="Debian's dataset-fashion-mnist is not installed"
)


def job(values: Object, kind: str) -> Object:
    """The one run that is rendered."""
    (found,) = (document for document in render(values) if document["kind"] == kind)
    return found


def nodes(values: Object, kind: str) -> list[Object]:
    """The containers that train, of each kind of node."""
    return [t["spec"]["containers"][0] for t in pod_templates(job(values, kind))]


def training(kind: str, **more: object) -> Object:
    told = {
        "enabled": True, "kind": kind, "nodes": 1 if kind == "Job" else 2, "dataClaim": "data",
        **more,
    }  # fmt: skip
    return CLAIM | {"training": told}


def mount_of(node: Object, template: Object, path: str) -> Object:
    """What lies at a path of a container: its volume."""
    (name,) = (mount["name"] for mount in node["volumeMounts"] if mount["mountPath"] == path)
    (volume,) = (v for v in template["spec"]["volumes"] if v["name"] == name)
    assert isinstance(volume, dict)
    return volume


@pytest.mark.parametrize("kind", KINDS)
def test_the_gateway_waits_for_the_artifact_where_the_run_leaves_it(kind: str) -> None:
    rendered = render(training(kind))
    template = next(pod_templates(job(training(kind), kind)))
    (node,) = template["spec"]["containers"]
    claim = mount_of(node, template, "/nets")["persistentVolumeClaim"]
    assert claim == {"claimName": "nets"}, "writable, and the gateway's own"
    assert "--out=/nets/runs/fast" in node["args"]
    assert served(container(rendered)).artifact == Path("/artifact/runs/fast/artifact")
    (init,) = pod(rendered)["initContainers"]
    assert init["args"] == ["/artifact/runs/fast/artifact/artifact.json"]


def test_a_gateway_may_serve_another_artifact_meanwhile() -> None:
    values = training("Job") | {"artifact": {"existingClaim": "nets", "path": "nets/old"}}
    assert served(container(render(values))).artifact == Path("/artifact/nets/old")


def test_another_run_has_another_name_and_the_same_has_the_same() -> None:
    """What a Job's template holds cannot be changed, so that its name goes with it."""
    told: list[Object] = [
        {}, {"args": ["--seed=2"]}, {"recipeToml": "a = 1"}, {"recipeToml": "a = 2"},
        {"tolerations": [{"key": "gpu"}]}, {"sharedMemory": "2Gi"}, {"dataClaim": "images"},
    ]  # fmt: skip
    jobs = [job(training("Job", **each), "Job") for each in told]
    names = [each["metadata"]["name"] for each in jobs]
    assert len(set(names)) == len(names)
    again = job(training("Job", backoffLimit=9, ttlSecondsAfterFinished=60), "Job")
    assert again["metadata"]["name"] == names[0]
    assert again["spec"]["template"] == jobs[0]["spec"]["template"]
    assert "helm.sh/chart" not in str(jobs[0]["spec"]["template"]), "a new chart is no new run"


@pytest.mark.parametrize("kind", KINDS)
def test_names_stay_short_enough_for_the_host_names_of_pods(kind: str) -> None:
    values = training(kind) | {"fullnameOverride": "a" * 52}
    assert len(f"{job(values, kind)['metadata']['name']}-node-0-9999") <= 63


def test_data_and_a_recipe_of_one_s_own_are_mounted() -> None:
    values = scenario("training")
    template = next(pod_templates(job(values, "Job")))
    (node,) = template["spec"]["containers"]
    assert {"/recipe/recipe.toml", "--data=/data/fashion-mnist", "--seed=7"} <= set(node["args"])
    data = mount_of(node, template, "/data")["persistentVolumeClaim"]
    assert data == {"claimName": "images", "readOnly": True}
    name = mount_of(node, template, "/recipe")["configMap"]["name"]
    (config,) = (d for d in render(values) if d["kind"] == "ConfigMap")
    assert config["metadata"]["name"] == name
    assert config["data"]["recipe.toml"] == values["training"]["recipeToml"]


NOWHERE = "training.dataClaim: expected a claim with the data, or training.egress to fetch them"
OUT: Object = {"ports": [{"port": 80, "protocol": "TCP"}]}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "more", [{}, {"recipeToml": 'dataset = "fashion-mnist" # no "words"'}, {"args": ["--seed=7"]}]
)
def test_a_run_that_could_not_have_its_data_is_refused(kind: str, more: Object) -> None:
    with pytest.raises(helm.HelmError, match=re.escape(NOWHERE)):
        render(training(kind, dataClaim="", **more))


@pytest.mark.parametrize(
    "more",
    [
        {"egress": [OUT]},
        {"args": ["--data=/opt/images"]},
        {"recipe": "words"},
        {"recipeToml": 'name = "mine"\ndataset = "words"\n'},
    ],
)
def test_a_run_that_can_fetch_its_data_or_has_them_is_taken(more: Object) -> None:
    assert job(training("Job", dataClaim="", **more), "Job")


def test_a_run_is_not_kept_from_its_data_where_no_policy_is_ours() -> None:
    assert job(training("Job", dataClaim="") | {"networkPolicy": {"enabled": False}}, "Job")


def test_a_run_that_is_killed_is_begun_again_and_never_twice_at_once() -> None:
    spec = job(training("Job"), "Job")["spec"]
    assert spec["backoffLimit"] == 3
    assert spec["podReplacementPolicy"] == "Failed"
    assert spec["template"]["spec"]["restartPolicy"] == "Never"
    spec = job(training("JobSet"), "JobSet")["spec"]
    assert spec["failurePolicy"] == {"maxRestarts": 3}


def test_the_nodes_of_a_jobset_meet_at_the_first() -> None:
    found = job(scenario("training-jobset"), "JobSet")
    name = found["metadata"]["name"]
    (replicated,) = found["spec"]["replicatedJobs"]
    assert replicated["template"]["spec"]["completions"] == 4
    (node,) = nodes(scenario("training-jobset"), "JobSet")
    host = f"{name}-{replicated['name']}-0-0.{name}"
    assert {f"--master-addr={host}", "--nnodes=4", "--nproc-per-node=8"} <= set(node["args"])


def test_a_pytorchjob_has_a_worker_fewer_than_nodes() -> None:
    spec = job(scenario("training-pytorchjob"), "PyTorchJob")["spec"]
    replicas = {role: each["replicas"] for role, each in spec["pytorchReplicaSpecs"].items()}
    assert replicas == {"Master": 1, "Worker": 3}
    assert spec["nprocPerNode"] == "8"
    alone = job(training("PyTorchJob", nodes=1), "PyTorchJob")["spec"]["pytorchReplicaSpecs"]
    assert alone.keys() == {"Master"}


@needs_images
@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_rendered_trains_and_leaves_what_the_gateway_serves(
    kind: str, tmp_path: Path
) -> None:
    """The very commands, with this machine's folders and address in place of the cluster's."""
    values = training(
        kind, recipeToml=RECIPE, out="runs/mine", dataClaim="images", dataPath="images",
        processesPerNode=2 if kind == "Job" else 1,
        args=["--subnet=d2-2-2-2-2@20", "--threads=1"],
    )  # fmt: skip
    rendered = render(values)
    (config,) = (d for d in rendered if d["kind"] == "ConfigMap")
    (tmp_path / "recipe.toml").write_text(config["data"]["recipe.toml"])
    first, *others = nodes(values, kind)
    by_rank = [first] if kind == "Job" else [first, *(others or [first])]
    with ExitStack() as stack:
        waiting = stack.enter_context(_until_trained(rendered, tmp_path))
        port = free_port()
        started = [
            stack.enter_context(_node(node, kind, rank, port, tmp_path))
            for rank, node in enumerate(by_rank)
        ]
        for process in started:
            _, errors = process.communicate(timeout=500)
            assert process.returncode == 0, errors.decode()
        assert waiting.wait(timeout=30) == 0, "the gateway may start"
    served_from = served(container(rendered)).artifact.relative_to("/artifact")
    manifest = artifact.load(tmp_path / served_from).manifest
    assert list(manifest.catalog.subnets()) == ["d2-2-2-2-2@20"]


@contextmanager
def _node(
    node: Object, kind: str, rank: int, port: int, folder: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """A node's torchrun, with what the operators would have put into its environment."""
    assert node["command"] == ["torchrun"]
    command = [str(Path(sys.executable).with_name("torchrun"))]
    command += [_here(argument, rank, port, folder) for argument in node["args"]]
    operator = {
        "PET_NNODES": "2", "PET_NODE_RANK": str(rank), "PET_NPROC_PER_NODE": "1",
        "PET_MASTER_ADDR": "127.0.0.1", "PET_MASTER_PORT": str(port),
    }  # fmt: skip
    environment = os.environ | (operator if kind == "PyTorchJob" else {})
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.kill()


def _here(argument: str, rank: int, port: int, folder: Path) -> str:
    """An argument with what is different on this machine."""
    if argument.startswith("--master-addr="):
        return "--master-addr=127.0.0.1"
    told = {"/nets": folder, "/data/images": DEBIAN_FOLDER, "/recipe": folder, "29500": port}
    for theirs, ours in {**told, "$(JOB_COMPLETION_INDEX)": rank}.items():
        argument = argument.replace(theirs, str(ours), 1)
    return argument


@contextmanager
def _until_trained(rendered: list[Object], folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The gateway's init container, which must still wait."""
    (init,) = pod(rendered)["initContainers"]
    arguments = [argument.replace("/artifact/", f"{folder}/", 1) for argument in init["args"]]
    with subprocess.Popen([*init["command"], *arguments]) as process:
        try:
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(timeout=0.5)
            yield process
        finally:
            process.kill()
