"""What a release's objects are called, however long its own name is."""

from __future__ import annotations

import re

import pytest

from tests.charts import helm
from tests.charts.rendering import CLAIM, Object, render, scenario

LONGEST = 53  # what Helm lets a release be called
ROOM = len("keda-hpa-")  # put to a name by the operator; `-headless` and the like are no longer


def fullname(release: str, **values: object) -> str:
    rendered = render(CLAIM | values, release=release)
    (deployment,) = (d for d in rendered if d["kind"] == "Deployment")
    name: str = deployment["metadata"]["name"]
    return name


@pytest.mark.parametrize(
    ("release", "name"),
    [
        ("demo", "demo-compofa-gateway"),
        ("a-compofa-gateway", "a-compofa-gateway"),
        ("r" * 36, "r" * 36 + "-compofa-gateway"),
    ],
)
def test_a_name_that_is_short_enough_is_the_release_s_and_the_chart_s(
    release: str, name: str
) -> None:
    assert fullname(release) == name


def test_long_releases_that_begin_alike_are_called_differently() -> None:
    releases = ["r" * 37, "r" * 52, "r" * LONGEST, "r" * 52 + "s", "r" * 42 + "-" * 10 + "s"]
    names = [fullname(release) for release in releases]
    assert len(set(names)) == len(names)
    for name in names:
        assert len(name) + ROOM <= 63
        assert re.fullmatch(r"r{37,}(-[a-z]+)?-[0-9a-f]{8}", name)
    assert names[0] == fullname(releases[0]), "the same at every upgrade"


@pytest.mark.parametrize("name", ["trial", "gpu", "keda", "training-jobset"])
def test_no_name_is_longer_than_a_label_may_be(name: str) -> None:
    values: Object = scenario(name) | {"service": {"type": "NodePort"}}
    rendered = render(values, release="r" * LONGEST)
    names = {d["metadata"]["name"] for d in rendered}
    assert all(len(each) <= 63 for each in names), names


@pytest.mark.parametrize("release", ["4-demo", "my.demo"])
def test_a_release_by_which_no_service_can_be_called_needs_another_name(release: str) -> None:
    with pytest.raises(
        helm.HelmError, match=f'the release.s full name "{release}-compofa-gateway"'
    ):
        fullname(release)
    assert fullname(release, fullnameOverride="demo") == "demo"


def test_a_release_that_looks_like_a_number_is_a_label_all_the_same() -> None:
    rendered = render(CLAIM | {"fullnameOverride": "demo", "nameOverride": "7"}, release="1e3")
    for document in rendered:
        assert document["metadata"]["labels"]["app.kubernetes.io/instance"] == "1e3"
        assert document["metadata"]["labels"]["app.kubernetes.io/name"] == "7"
