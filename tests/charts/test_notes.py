"""What is said to who has installed the chart."""

from __future__ import annotations

import argparse
import re
import shlex

import pytest

from gateway import cli
from tests.charts import rendering
from tests.charts.rendering import CLAIM, Object, notes


def test_the_notes_say_the_next_command_and_the_target() -> None:
    said = notes(CLAIM)
    assert "kubectl --namespace nets rollout status deployment/demo-compofa-gateway" in said
    assert "port-forward service/demo-compofa-gateway 50051:50051" in said
    assert "dns:///demo-compofa-gateway-headless.nets.svc:50051" in said
    assert "not authenticated and not encrypted" in said
    assert "set store.existingSecret" in said


def test_the_notes_of_a_locked_gateway_warn_of_nothing() -> None:
    said = notes(rendering.scenario("production"))
    assert "authenticated" not in said
    assert "existingSecret" not in said
    assert "maxConnectionAgeS" not in said


def test_the_notes_warn_of_pods_that_clients_will_not_find() -> None:
    scaled = rendering.scenario("keda") | {"gateway": {}}
    assert "gateway.maxConnectionAgeS is not set" in notes(scaled)


def test_the_notes_say_how_debug_pages_and_the_live_page_are_reached() -> None:
    said = notes(rendering.scenario("tracing"))
    assert "port-forward deployment/demo-compofa-gateway 9090 &" in said
    assert "port-forward deployment/demo-compofa-gateway 8080" in said
    assert not any(told in notes(CLAIM) for told in ("/debug", "8080"))


@pytest.mark.parametrize(
    ("name", "waits"),
    [
        ("training", "condition=Complete job/demo-compofa-gateway-train-"),
        ("training-jobset", "condition=Completed jobset/demo-compofa-gateway-train-"),
        ("training-pytorchjob", "condition=Succeeded pytorchjob/demo-compofa-gateway-train-"),
    ],
)
def test_the_notes_of_a_training_say_to_wait_for_it_first(name: str, waits: str) -> None:
    said = notes(rendering.scenario(name))
    assert "logs --follow --selector" in said
    assert "The gateway waits for /artifact/runs/" in said
    places = [said.index(each) for each in (waits, "condition=Available deployment/", "infer")]
    assert places == sorted(places)
    assert "rollout status" not in said, "it has failed by then"


def test_a_gateway_that_serves_another_artifact_meanwhile_waits_for_no_training() -> None:
    values = rendering.scenario("training")
    values["artifact"]["path"] = "nets/old"
    said = notes(values)
    assert "logs --follow --selector" in said
    assert "The gateway serves /artifact/nets/old." in said
    assert "rollout status deployment/demo-compofa-gateway" in said
    assert "condition=" not in said


def command(said: str) -> argparse.Namespace:
    """What the client's own command line makes of the command in the notes."""
    words = shlex.split(re.sub(r"\\\n", "", said[said.index("compofa infer") :]).partition("\n")[0])
    return cli.build_parser("compofa").parse_args(words[1:])


def test_the_command_in_the_notes_is_one() -> None:
    asked = command(notes(CLAIM))
    assert asked.target == "127.0.0.1:50051"
    assert not asked.tls_ca
    assert not asked.tls_server_name
    assert not asked.token_file


def test_the_command_in_the_notes_of_a_locked_gateway_shows_what_it_asks_for() -> None:
    asked = command(notes(rendering.scenario("production")))
    assert asked.tls_server_name == "demo-compofa-gateway.nets.svc"
    assert all((asked.tls_ca, asked.tls_cert, asked.tls_key, asked.token_file))


@pytest.mark.parametrize(
    ("values", "given"),
    [
        ({"tls": {"existingSecret": "tls"}}, {"tls_ca", "tls_server_name"}),
        ({"auth": {"existingSecret": "tokens", "withoutTls": True}}, {"token_file"}),
    ],
)
def test_the_command_in_the_notes_shows_no_more_than_that(values: Object, given: set[str]) -> None:
    asked = vars(command(notes(CLAIM | values)))
    locks = {"tls_ca", "tls_server_name", "tls_cert", "tls_key", "token_file"}
    assert {name for name in locks if asked[name]} == given
