"""The end of a gateway's pod: who hears of it first, and how long the drain may take."""

from __future__ import annotations

import math

import pytest

from gateway.server import _FLUSH_S
from gateway.tracing import sending
from tests.charts.command_line import served
from tests.charts.rendering import CLAIM, KUBERNETES, ROOT, container, pod, render

AFTER_GRACE_S = 15


@pytest.mark.parametrize("pre_stop_s", [0, 5])
@pytest.mark.parametrize("grace_s", [0, 7.5, 20, 3600])
def test_a_drain_that_uses_all_its_grace_is_not_killed(grace_s: float, pre_stop_s: int) -> None:
    values = {"gateway": {"graceS": grace_s}, "rollout": {"preStopS": pre_stop_s}}
    rendered = render(CLAIM | values)
    assert served(container(rendered)).grace_s == grace_s
    given_s = pod(rendered)["terminationGracePeriodSeconds"]
    assert given_s == math.ceil(grace_s) + pre_stop_s + AFTER_GRACE_S
    longest_s = 2 * _FLUSH_S + sending.FLUSH_S  # the last answers, gRPC, then traces
    assert given_s > pre_stop_s + grace_s + longest_s
    assert ("lifecycle" in container(rendered)) == (pre_stop_s > 0)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("resilience", f"`--grace-s` and {AFTER_GRACE_S} s before SIGKILL"),
        ("kubernetes", f"both and {AFTER_GRACE_S} s"),
    ],
)
def test_the_documents_give_a_drain_what_the_chart_gives_it(name: str, said: str) -> None:
    assert said in " ".join((ROOT / "docs" / f"{name}.md").read_text().split())


@pytest.mark.parametrize("version", KUBERNETES)
def test_endpoints_hear_of_the_end_before_the_drain(version: str) -> None:
    before = container(render(CLAIM, version))["lifecycle"]["preStop"]
    if version == "1.29":
        assert before == {"exec": {"command": ["sleep", "5"]}}
    else:
        assert before == {"sleep": {"seconds": 5}}
