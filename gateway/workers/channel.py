"""One end of what joins two processes of a gateway: messages through a socket, as JSON, and memory
that both see for what is large."""

from __future__ import annotations

import asyncio
import json
import mmap
import os
import socket
from contextlib import suppress
from typing import Any, Self

Message = Any
"""What JSON can say; tuples arrive as lists."""

KEPT_BYTES = 16 * 2**20
"""Of shared memory; what a few batches needed beyond it is handed back."""
_MOST_BYTES = 2**18  # of a message; the kernel takes less


class SharedMemory:
    """Bytes in a file without a name, which grows as it is asked for more."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._map: mmap.mmap | None = None

    @classmethod
    def made(cls) -> Self:
        return cls(os.memfd_create("compofa-batch"))

    def at_least(self, size: int) -> memoryview:
        """All of it. Views taken earlier stay good."""
        if os.fstat(self.fd).st_size < size:
            os.ftruncate(self.fd, size)
        if self._map is None or len(self._map) < size:
            self._map = mmap.mmap(self.fd, 0)
        return memoryview(self._map)

    def hand_back(self) -> None:
        """What is beyond `KEPT_BYTES`; nobody may look at it any more, until it grows again."""
        if os.fstat(self.fd).st_size > KEPT_BYTES:
            os.ftruncate(self.fd, KEPT_BYTES)

    def close(self) -> None:
        """Views stay good."""
        os.close(self.fd)
        self._map = None


class Channel:
    """Sends and receives whole messages. For one thread at a time."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end

    @classmethod
    def pair(cls) -> tuple[Self, Self]:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        return cls(ours), cls(theirs)

    @classmethod
    def of(cls, fd: int) -> Self:
        """The end that was inherited as a file descriptor."""
        return cls(socket.socket(fileno=fd))

    def fileno(self) -> int:
        return self._end.fileno()

    def send(self, message: Message) -> None:
        """Raises `OSError` where nobody is there any more."""
        self._end.sendall(json.dumps(message).encode())

    async def received(self) -> Message:
        """`receive`, within an event loop."""
        self._end.setblocking(False)
        try:
            data = await asyncio.get_running_loop().sock_recv(self._end, _MOST_BYTES)
        except ConnectionError:
            raise EOFError from None
        return _message(data)

    def receive(self, timeout_s: float | None = None) -> Message:
        """Raises `EOFError` where nobody is there any more, `TimeoutError` where none comes."""
        self._end.settimeout(timeout_s)
        try:
            data = self._end.recv(_MOST_BYTES)
        except ConnectionError:
            raise EOFError from None
        return _message(data)

    def close(self) -> None:
        self._end.close()

    def hang_up(self) -> None:
        """Close it for both ends. Whoever waits here for a message, in another thread, waits no
        longer."""
        with suppress(OSError):
            self._end.shutdown(socket.SHUT_RDWR)
        self.close()


def _message(data: bytes) -> Message:
    if not data:
        raise EOFError
    return json.loads(data)
