"""A process that runs batches for this one, seen from here."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from contextlib import suppress

from gateway.child_process import environment
from gateway.workers.batch import Batch, Outcome
from gateway.workers.channel import Channel, SharedMemory
from gateway.workers.messages import REFUSED, Opened, Setup
from gateway.workers.packing import packed, unpacked_outcome
from supernet.architecture import Architecture

_MODULE = "gateway.workers.process"
END_S = 5.0  # it ends with its batch, and is killed where that does not end
MOST_S = 120.0  # that any batch takes
OPEN_S = 600.0  # that a start takes at most, where everything has to be compiled
_LOAD_S = 60.0  # that it takes to load a subnet from the cache


class WorkerLostError(Exception):
    """The process has ended. `ran` where it had been handed the batch."""

    def __init__(self, why: str, *, ran: bool) -> None:
        self.ran = ran
        super().__init__(f"a worker's process {why}")


class WorkerProcess:
    """Started when made; ready once `opened` has returned. `run` is for the event loop, one batch
    after another; the rest is for any thread."""

    def __init__(self, setup: Setup) -> None:
        self._work, work = Channel.pair()
        self._control, control = Channel.pair()
        self._memory = SharedMemory.made()
        fds = work.fileno(), control.fileno(), self._memory.fd
        # -P: a folder `gateway` where this one was started is not ours.
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", _MODULE, *map(str, fds)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                env=environment(),
                pass_fds=fds,
                process_group=0,  # Ctrl-C is the gateway's
            )
        except OSError:
            for end in (self._work, self._control, self._memory):
                end.close()
            raise
        finally:
            work.close()
            control.close()
        assert self._process.stdin is not None
        with suppress(BrokenPipeError), self._process.stdin as stdin:  # `opened` says why
            stdin.write(setup.model_dump_json(exclude_none=True).encode())
        self._asking, self._closing = threading.Lock(), threading.Lock()
        self._closed = False

    @property
    def pid(self) -> int:
        return self._process.pid

    def opened(self, within_s: float = OPEN_S) -> Opened:
        """Once it is ready. Raises `ValueError` where its engine cannot be had."""
        try:
            told = self._work.receive(within_s)
        except EOFError:
            raise ValueError(f"engine: its process {self._ended()}") from None
        except TimeoutError:
            self._process.kill()
            raise ValueError(f"engine: its process was not ready within {within_s:g} s") from None
        if REFUSED in told:
            raise ValueError(told[REFUSED])
        return Opened.model_validate(told)

    async def run(self, batch: Batch, most_s: float = MOST_S) -> Outcome:
        """Raises `WorkerLostError`, where the batch takes longer than `most_s` too: what hangs is
        killed."""
        told = packed(batch, self._memory)
        try:
            self._work.send(told)
        except OSError:
            raise WorkerLostError(await asyncio.to_thread(self._ended), ran=False) from None
        try:
            async with asyncio.timeout(most_s):
                answer = await self._work.received()
        except EOFError:
            raise WorkerLostError(await asyncio.to_thread(self._ended), ran=True) from None
        except TimeoutError:
            self._process.kill()
            raise WorkerLostError(f"hung for {most_s:g} s and was killed", ran=True) from None
        outcome = unpacked_outcome(answer, self._memory)
        self._memory.hand_back()
        return outcome

    def have(self, arch: Architecture, *, whole: bool) -> bool:
        """Have a subnet compiled whole, or no longer; whether it is so, which it is not where the
        cache lacks it. A process that is gone needs none, and who comes in its place is asked
        anew; one that hangs is killed. Raises `RuntimeError` where the runtime fails."""
        with self._asking:
            try:
                self._control.send((arch.id, whole))
                told = self._control.receive(_LOAD_S)
            except TimeoutError:
                self._process.kill()
                return True
            except (EOFError, OSError):
                return True
        if isinstance(told, dict):
            raise RuntimeError(told[REFUSED])
        return bool(told)

    @property
    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def let_go(self) -> None:
        """It ends by itself, once it has noticed."""
        with self._closing:
            if self._closed:
                return
            self._closed = True
        self._control.hang_up()
        self._work.close()
        self._memory.close()

    def close(self, within_s: float = END_S) -> None:
        """Return once the process has ended; it is killed where it does not `within_s`."""
        self.let_go()
        self._status(within_s)

    def _ended(self) -> str:
        return f"ended with status {self._status()}"

    def _status(self, within_s: float = END_S) -> int:
        """Of the process, which has ended, or is about to."""
        try:
            return self._process.wait(max(0.0, within_s))
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()
