"""What the kernel calls this machine's processor."""

from __future__ import annotations

import platform
from pathlib import Path


def processor() -> str:
    """What timings and compiled programs are of: a folder of them may be shared by machines that
    differ."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.machine())
