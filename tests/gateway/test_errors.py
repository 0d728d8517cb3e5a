from __future__ import annotations

import pytest

from gateway.errors import (
    MAX_SHOWN,
    GatewayError,
    InvalidRequest,
    QueueFull,
    UnknownDeviceClass,
    shown,
)


@pytest.mark.parametrize("value", ["x" * 10**6, b"x" * 10**6, list(range(10**5)), 10**3000])
def test_a_message_never_repeats_a_large_value(value: object) -> None:
    assert len(shown(value)) <= MAX_SHOWN + 10
    assert len(InvalidRequest("image", value, "less").safe_message) < 2 * MAX_SHOWN


def test_an_invalid_request_names_field_value_and_what_was_expected() -> None:
    error = InvalidRequest("min_accuracy", 1.5, "a number from 0 to 1")
    assert error.safe_message == "min_accuracy: expected a number from 0 to 1, got 1.5"
    assert error.code == "INVALID_ARGUMENT"


def test_an_unknown_class_lists_those_there_are() -> None:
    assert "there are alpha, beta" in UnknownDeviceClass("x", ["beta", "alpha"]).safe_message
    assert "there are none yet" in UnknownDeviceClass("x", []).safe_message
    assert len(UnknownDeviceClass("x", map(str, range(10**4))).safe_message) < 500


def test_a_full_queue_says_when_to_come_back() -> None:
    error = QueueFull(0.5)
    assert (error.code, error.retry_after_s) == ("RESOURCE_EXHAUSTED", 0.5)
    assert "0.50 s" in error.safe_message


def test_anything_else_is_bland() -> None:
    assert (GatewayError.code, GatewayError().safe_message) == ("INTERNAL", "internal error")


def test_an_error_that_is_told_again_is_the_same() -> None:
    error = InvalidRequest("tensor.raw", "x" * 1000, "finite values")
    again = InvalidRequest.told(error.field, error.given, error.expected)
    assert (vars(again), again.args) == (vars(error), error.args)
