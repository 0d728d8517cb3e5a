"""What one adds to the gateway's container and its pod."""

from __future__ import annotations

import pytest
import yaml

from tests.charts import helm
from tests.charts.rendering import CLAIM, ROOT, Object, container, find, pod, render, scenario
from tests.charts.validation import problems

AUTHORITY: Object = {
    "extraEnv": [{"name": "OTEL_EXPORTER_OTLP_CERTIFICATE", "value": "/authority/ca.crt"}],
    "extraVolumes": [{"name": "authority", "secret": {"secretName": "authority"}}],
    "extraVolumeMounts": [{"name": "authority", "mountPath": "/authority", "readOnly": True}],
}


def added(gateway: Object) -> list[Object]:
    return render(scenario("production") | {"gateway": gateway})


def test_variables_volumes_and_mounts_come_behind_the_chart_s_own() -> None:
    rendered, without = added(AUTHORITY), added({})
    assert problems(find(rendered, "Deployment"), "1.34") == []
    for field, value in (("env", "extraEnv"), ("volumeMounts", "extraVolumeMounts")):
        assert container(rendered)[field] == container(without)[field] + AUTHORITY[value]
    assert pod(rendered)["volumes"] == pod(without)["volumes"] + AUTHORITY["extraVolumes"]


def test_there_are_none_unless_asked_for() -> None:
    names = {volume["name"] for volume in pod(render(CLAIM))["volumes"]}
    assert names == {"state", "tmp", "artifact"}


@pytest.mark.parametrize(
    ("gateway", "message"),
    [
        (
            {"extraEnv": [{"name": "HOME", "value": "/"}]},
            'gateway.extraEnv "HOME": expected another',
        ),
        ({"extraEnv": 2 * AUTHORITY["extraEnv"]}, "gateway.extraEnv"),
        ({"extraVolumes": [{"name": "tls"}]}, 'gateway.extraVolumes "tls": expected another name'),
        (
            {"extraVolumeMounts": [{"name": "tls", "mountPath": "/tmp"}]},
            'gateway.extraVolumeMounts "/tmp": expected another mountPath',
        ),
    ],
)
def test_what_is_there_already_is_refused(gateway: Object, message: str) -> None:
    with pytest.raises(helm.HelmError) as refused:
        added(gateway)
    assert message in str(refused.value)


def test_the_document_s_example_renders() -> None:
    text = (ROOT / "docs" / "kubernetes.md").read_text()
    (example,) = (
        block.partition("```")[0] for block in text.split("```yaml\n") if "extraEnv:" in block
        and block.startswith("gateway:")
    )  # fmt: skip
    rendered = render(CLAIM | yaml.safe_load(example))
    assert problems(find(rendered, "Deployment"), "1.34") == []
    (mount,) = (m for m in container(rendered)["volumeMounts"] if m["name"] == "authority")
    (told,) = (v for v in container(rendered)["env"] if v["name"].startswith("OTEL"))
    assert told["value"].startswith(mount["mountPath"])
