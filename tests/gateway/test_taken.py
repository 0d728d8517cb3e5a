"""What a process takes, from outside."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from gateway.heap import resident_bytes
from gateway.taken import taken_by


def test_what_this_process_takes() -> None:
    taken = taken_by(os.getpid())
    assert taken is not None
    assert abs(taken.resident_bytes - resident_bytes()) < 2**24
    assert abs(taken.cpu_seconds - time.process_time()) < 1.0


def test_a_process_that_is_gone_takes_nothing() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass
    assert taken_by(process.pid) is None
