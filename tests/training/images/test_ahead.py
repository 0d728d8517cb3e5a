"""Work done ahead: in order, a few items at most, and nothing left running."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.images.ahead import computed_ahead


@given(items=st.lists(st.integers(), max_size=20), num_threads=st.integers(1, 4))
def test_gives_what_map_gives(items: list[int], num_threads: int) -> None:
    found = computed_ahead(lambda i: i * i, items, num_threads=num_threads)
    assert list(found) == [i * i for i in items]


def test_goes_no_further_than_a_few_items_and_ends_when_dropped() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for i in range(100):
            taken.append(i)
            yield i

    found = computed_ahead(str, items(), num_threads=2)
    assert next(found) == "0"
    assert len(taken) == 3
    del found
    assert not [t for t in threading.enumerate() if t.name.startswith("ahead")]


def test_next_is_in_the_making_while_one_is_used() -> None:
    begun = [threading.Event() for _ in range(3)]
    found = computed_ahead(lambda i: begun[i].set(), range(3))
    next(found)
    assert begun[1].wait(timeout=10)


def test_an_error_comes_where_its_result_would_have() -> None:
    found = computed_ahead(lambda i: 1 // i, [1, 0, 1])
    assert next(found) == 1
    with pytest.raises(ZeroDivisionError):
        next(found)
