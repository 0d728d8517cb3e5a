"""The store for trials: its rendered configuration run by a real Valkey, its URL used."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path

import pytest
import redis

from gateway.stores.by_url import STORE_VARIABLE, open_store
from gateway.stores.tables import StoreError
from tests.charts.rendering import CLAIM, Object, container, find, kinds, render, scenario
from tests.charts.validation import problems
from tests.redis_server import RedisServer, running

TRIAL: Object = CLAIM | {"valkey": {"enabled": True, "password": "correct-horse.battery"}}


class Rendered(RedisServer):
    """A server with the chart's own file, but for the port and the folder of this machine."""

    def __init__(self, folder: Path, conf: str) -> None:
        super().__init__(folder)
        own = ("port ", "dir ")
        kept = [line for line in conf.splitlines() if not line.startswith(own)]
        self._lines = [f"port {self.port}", "bind 127.0.0.1", f"dir {folder}", *kept]

    def _answers(self) -> bool:
        """Whether it listens: it answers nobody without the password."""
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


@contextmanager
def trial(folder: Path) -> Iterator[tuple[str, str]]:
    """The rendered URL, with this machine's address in place of the Service's, and without its
    password."""
    secret = find(render(TRIAL), "Secret", "-valkey")["stringData"]
    host = "demo-compofa-gateway-valkey.nets.svc:6379"
    assert host in secret["url"]
    with running(Rendered(folder, secret["valkey.conf"])) as server:
        url = secret["url"].replace(host, f"127.0.0.1:{server.port}")
        yield url, url.replace(":correct-horse.battery@", "")


def test_gateways_read_it_by_its_url_and_nobody_without_the_password(tmp_path: Path) -> None:
    async def aliases(url: str) -> dict[str, str]:
        async with aclosing(open_store(url)) as store:
            await store.set_alias("0" * 32, "telephone", "phone")
            return await store.aliases("0" * 32)

    with trial(tmp_path) as (url, without_password):
        assert asyncio.run(aliases(url)) == {"telephone": "phone"}
        with pytest.raises((StoreError, ValueError, redis.AuthenticationError)):
            asyncio.run(aliases(without_password))


def test_it_is_bounded_and_keeps_what_it_has(tmp_path: Path) -> None:
    with trial(tmp_path) as (url, _), redis.Redis.from_url(url, protocol=2) as asked:
        told = asked.config_get("max*")
        assert told["maxmemory"] == str(128 * 2**20)
        assert told["maxmemory-policy"] == "noeviction"


def test_it_reads_its_password_from_a_file() -> None:
    rendered = render(TRIAL)
    (server,) = find(rendered, "Deployment", "-valkey")["spec"]["template"]["spec"]["containers"]
    secret = find(rendered, "Secret", "-valkey")["stringData"]
    mounted = {mount["name"]: mount["mountPath"] for mount in server["volumeMounts"]}
    assert server["args"] == [f"{mounted['conf']}/valkey.conf"]
    assert "correct-horse.battery" not in str(server)
    assert secret["valkey.conf"].splitlines()[1] == f"dir {mounted['data']}"


def test_a_drawn_password_is_long_and_the_same_throughout() -> None:
    secret = find(render(scenario("trial")), "Secret", "-valkey")["stringData"]
    password = secret["password"]
    assert len(password) == 32
    assert f"requirepass {password}" in secret["valkey.conf"]
    assert f":{password}@" in secret["url"]


def annotated(rendered: list[Object], suffix: str = "") -> Object:
    """Of a Deployment's pods."""
    template = find(rendered, "Deployment", suffix)["spec"]["template"]
    told: Object = template["metadata"].get("annotations", {})
    return told


def test_another_password_is_other_pods_and_the_same_is_the_same() -> None:
    passwords = ["", "correct-horse.battery", "staple-battery.horse"]
    seen: list[str] = []
    for password in passwords:
        values = CLAIM | {"valkey": {"enabled": True, "password": password}}
        checksums = {
            annotated(render(values), suffix)["checksum/secret"]
            for suffix in ("", "-valkey") for _ in range(2)
        }  # fmt: skip
        assert len(checksums) == 1, "of both, and at every rendering, also of a drawn one"
        seen += checksums
    assert len(set(seen)) == len(passwords)


def test_annotations_of_one_s_own_stay_and_do_not_hide_a_new_password() -> None:
    theirs = {"podAnnotations": {"team": "vision", "checksum/secret": "0"}}
    told = annotated(render(TRIAL | theirs))
    assert told["team"] == "vision"
    assert told["checksum/secret"] != "0"
    assert annotated(render(CLAIM)) == {}


def test_it_runs_where_the_gateway_may() -> None:
    where: Object = {
        "imagePullSecrets": [{"name": "registry"}],
        "priorityClassName": "serving",
        "nodeSelector": {"pool": "nets"},
        "tolerations": [{"key": "nets", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
            {"weight": 1, "preference": {"matchExpressions": [{"key": "a", "operator": "Exists"}]}}
        ]}},
    }  # fmt: skip
    rendered = render(TRIAL | where)
    for suffix in ("", "-valkey"):
        deployment = find(rendered, "Deployment", suffix)
        spec = deployment["spec"]["template"]["spec"]
        assert {field: spec[field] for field in where} == where
        assert problems(deployment, "1.34") == []


def test_the_gateways_are_told_by_the_secret() -> None:
    source = {"secretKeyRef": {"name": "demo-compofa-gateway-valkey", "key": "url"}}
    assert {"name": STORE_VARIABLE, "valueFrom": source} in container(render(TRIAL))["env"]


def test_there_is_none_unless_asked_for() -> None:
    assert "Secret" not in kinds(render(CLAIM))
