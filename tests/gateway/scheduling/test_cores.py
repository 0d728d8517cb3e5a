"""Whether a core is idle."""

from __future__ import annotations

import pytest

from gateway.scheduling.cores import Cores


def test_cores_are_idle_until_as_many_workers_are_at_work() -> None:
    cores = Cores(2)
    with cores.at_work():
        assert cores.are_idle()
        with cores.at_work():
            assert not cores.are_idle()
        assert cores.are_idle()


def test_a_worker_that_fails_gives_its_core_back() -> None:
    cores = Cores(1)
    with pytest.raises(ValueError, match="torn"), cores.at_work():
        raise ValueError("torn")
    assert cores.are_idle()
