"""The folder of a run belongs to one run at a time."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.processes import Processes
from training.run_folder import RunFolder


def test_a_second_run_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    with folder.held(Processes()):
        second = folder.held(Processes())
        with pytest.raises(ValueError, match="another run is at work there"), second:
            pass
        with folder.held(Processes(rank=1, count=2)):
            pass  # another process of the same run
    with folder.held(Processes()):
        pass  # free again
