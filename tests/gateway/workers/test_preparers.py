"""Inputs are prepared side by side."""

from __future__ import annotations

import threading

from gateway.workers.preparers import Preparers


def test_inputs_are_prepared_side_by_side_and_come_in_order() -> None:
    together, preparers = threading.Barrier(2), Preparers(2)

    def prepare(number: int) -> int:
        together.wait(10)  # raises where nobody else comes
        return number * 2

    assert list(preparers.map(prepare, [1, 2, 3, 4])) == [2, 4, 6, 8]
    preparers.close()
