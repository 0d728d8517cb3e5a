import pytest

from gateway.request_ids import request_id


def test_a_caller_names_its_request() -> None:
    assert request_id([("user-agent", "x"), ("x-request-id", "order-17/a")]) == "order-17/a"


@pytest.mark.parametrize("unusable", ["", "two words", "x" * 129, "line\nbreak", "ä", b"bytes"])
def test_a_name_that_cannot_be_repeated_is_replaced(unusable: str | bytes) -> None:
    first, second = (request_id([("x-request-id", unusable)]) for _ in range(2))
    assert len(first) == 16
    assert first != second


def test_a_request_without_a_name_is_given_one() -> None:
    assert request_id([]) != request_id([])
