"""What every source stands on: splits that are even over the classes."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from training.images.data import stratified


@given(data=st.data(), labels=st.lists(st.integers(0, 4), min_size=2, max_size=40))
def test_classes_take_turns_until_they_are_used_up(data: st.DataObject, labels: list[int]) -> None:
    count = data.draw(st.integers(1, len(labels) - 1))
    chosen = stratified(torch.tensor(labels), count).tolist()
    assert chosen == sorted(set(chosen))
    assert len(chosen) == count
    there = {c: labels.count(c) for c in set(labels)}
    taken = {c: [labels[i] for i in chosen].count(c) for c in there}
    most = max(taken.values())
    assert all(taken[c] >= min(there[c], most - 1) for c in there)
    for c in there:
        first = [i for i, label in enumerate(labels) if label == c][: taken[c]]
        assert first == [i for i in chosen if labels[i] == c]


def test_more_than_there_are_is_refused() -> None:
    with pytest.raises(ValueError, match="train_images: expected 1 to 2 of the images, got 4"):
        stratified(torch.tensor([0, 1, 0]), 4, "train_images")
