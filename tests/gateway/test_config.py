from pathlib import Path

import pytest
from pydantic import ValidationError

from gateway.config import MIB, LearningConfig, ServerConfig
from gateway.ui.config import UiConfig


def test_defaults_listen_on_this_machine_only() -> None:
    config = ServerConfig(artifact=Path("net"))
    assert (config.host, config.port, config.metrics_port) == ("127.0.0.1", 50051, 9090)
    assert config.max_message_bytes == 128 * MIB
    assert config.max_image_bytes == 16 * MIB
    assert config.grace_s == 20.0


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("port", 65536),
        ("port", -1),
        ("metrics_port", 1.5),
        ("grace_s", -1.0),
        ("grace_s", float("nan")),
        ("max_batch", 0),
        ("host", ""),
        ("fallback_device_class", "bad name"),
        ("colour", "red"),
        ("learning", {"min_clients": 2}),
        ("learning", {"max_step": 1.0}),
        ("learning", {"max_total": float("inf")}),
        ("learning", {"interval_s": 0.0}),
        ("learning", {"colour": "red"}),
        ("exports", {"max_cache_bytes": 0}),
        ("exports", {"max_builds": 0}),
        ("exports", {"max_build_s": 0.0}),
        ("exports", {"max_streams": 0}),
    ],
)
def test_a_bad_value_is_rejected_by_name(field: str, value: object) -> None:
    with pytest.raises(ValidationError, match=field):
        ServerConfig.model_validate({"artifact": "net", field: value})


def test_nothing_is_learned_unless_asked_for() -> None:
    assert ServerConfig(artifact=Path("net")).learning is None
    assert not LearningConfig().trust_client_names


def test_subnets_are_handed_out_unless_told_otherwise() -> None:
    exports = ServerConfig(artifact=Path("net")).exports
    assert exports is not None
    assert (exports.cache, exports.max_cache_bytes, exports.max_builds) == (None, 1024 * MIB, 1)
    assert ServerConfig(artifact=Path("net"), exports=None).exports is None


def test_the_two_ports_differ_unless_free_ones_are_taken() -> None:
    assert ServerConfig(artifact=Path("net"), port=0, metrics_port=0).port == 0
    with pytest.raises(ValidationError, match="metrics_port 9090"):
        ServerConfig(artifact=Path("net"), port=9090)


def test_an_image_must_fit_in_a_message() -> None:
    with pytest.raises(ValidationError, match="max_image_bytes"):
        ServerConfig(artifact=Path("net"), max_image_bytes=2 * MIB, max_message_bytes=MIB)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "::1", "0.0.0.0", "::", "localhost", "gateway.local"]
)
def test_debug_pages_can_be_had_where_this_machine_can_ask(host: str) -> None:
    assert ServerConfig(artifact=Path("net"), host="10.0.0.5", metrics_host=host, debug=True).debug


def test_debug_pages_that_nobody_could_ask_for_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"debug: expected metrics_host .* not 10\.0\.0\.5"):
        ServerConfig(artifact=Path("net"), host="10.0.0.5", debug=True)


def test_there_is_no_page_unless_asked_for_and_its_port_is_its_own() -> None:
    assert ServerConfig(artifact=Path("net")).ui is None
    page = ServerConfig(artifact=Path("net"), ui=UiConfig()).ui
    assert page is not None
    assert (page.port, page.max_viewers) == (8080, 16)
    for other in ({"port": 8080}, {"metrics_port": 8080}, {"security": {"health_port": 8080}}):
        document = {"artifact": "net", "ui": {}, **other}
        with pytest.raises(ValidationError, match=r"ui\.port 8080"):
            ServerConfig.model_validate(document)
