"""Compiles a subnet whole in a process of its own, which leaves it in the compile cache.

A gateway that began by what an earlier one compiled has neither torch nor the weights in memory. To
load them in a thread holds the interpreter's lock for seconds, and requests wait for it.
"""

from __future__ import annotations

import subprocess
import sys
import threading

from gateway.child_process import environment, yield_to_requests
from gateway.config import ServerConfig
from supernet.architecture import Architecture

_MOST_S = 300.0  # at a low priority on a busy machine
FIELDS = {"artifact", "engine", "threads", "workers", "precision", "device", "compile_cache"}
"""Of the configuration: what a compiled subnet depends on, and nothing that is secret."""


class CompileAside:
    """Runs one process at a time, for the thread that calls."""

    def __init__(self, config: ServerConfig, artifact_hash: str) -> None:
        self._told = config.model_dump_json(include=FIELDS, exclude_none=True)
        self._artifact_hash = artifact_hash
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._closed = False

    def __call__(self, arch: Architecture) -> None:
        """Raises `RuntimeError` in one line where the subnet could not be compiled."""
        process = self._started(arch)
        yield_to_requests(process.pid)
        try:
            _, said = process.communicate(timeout=_MOST_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise RuntimeError(f"no end after {_MOST_S:g} s") from None
        if process.returncode != 0:
            lines = said.strip().splitlines() or [f"exit status {process.returncode}"]
            raise RuntimeError(lines[-1])

    def close(self) -> None:
        """End what is under way; nothing is compiled any more."""
        with self._lock:
            self._closed = True
            if self._process is not None:
                self._process.kill()

    def _started(self, arch: Architecture) -> subprocess.Popen[str]:
        # -P: a folder `gateway` where this one was started is not ours.
        command = [sys.executable, "-P", "-m", "gateway.compiling", self._told]
        with self._lock:
            if self._closed:
                raise RuntimeError("the gateway ends")
            self._process = subprocess.Popen(
                [*command, self._artifact_hash, arch.id],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                env=environment(),
                process_group=0,  # Ctrl-C is the gateway's
            )
            return self._process


def main(told: str, artifact_hash: str, subnet: str) -> None:
    """What the process does. Raises `ValueError`, or `RuntimeError` of the runtime."""
    from gateway.engine_opening import opened_backend
    from gateway.engines.net import Net
    from gateway.engines.opening import compile_whole

    config = ServerConfig.model_validate_json(told)
    net = Net(config.artifact)
    if net.manifest.artifact_hash != artifact_hash:
        raise ValueError(f"artifact {config.artifact}: no longer the net that is served")
    compile_whole(net, opened_backend(config, net), Architecture.parse(subnet))


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except (ValueError, RuntimeError, MemoryError) as error:
        sys.exit(f"{str(error) or 'out of memory'}")
