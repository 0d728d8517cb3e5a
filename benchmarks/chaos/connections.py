"""Connections that speak just enough HTTP/2 to be taken for a client that says nothing."""

from __future__ import annotations

import socket
from contextlib import ExitStack, suppress

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = b"\0\0\0\4\0\0\0\0\0"
SETTINGS_ACK = b"\0\0\0\4\1\0\0\0\0"
NO_WINDOW = b"\0\0\6\4\0\0\0\0\0" + b"\0\4\0\0\0\0"  # for what answers a stream
PING = b"\0\0\x08\6\0\0\0\0\0" + b"chaos..."
PING_ACK = b"\0\0\x08\6\1\0\0\0\0" + b"chaos..."


class Connection:
    """One connection, which begins with what `settings` are."""

    def __init__(self, port: int, settings: bytes = SETTINGS) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self._read = b""
        self.send(PREFACE + settings + SETTINGS_ACK)

    def send(self, data: bytes) -> None:
        with suppress(OSError):  # it may have been turned away already
            self._socket.sendall(data)

    def is_answered(self, within_s: float = 5.0) -> bool:
        """Whether the other side answers a ping."""
        self.send(PING)
        self._socket.settimeout(within_s)
        try:
            while PING_ACK not in self._read:
                data = self._socket.recv(4096)
                if not data:
                    return False
                self._read = (self._read + data)[-4096:]
        except OSError:
            return False
        self._read = b""
        return True

    def close(self) -> None:
        self._socket.close()


def connected(port: int, count: int, stack: ExitStack) -> list[Connection]:
    """So many connections, closed with the stack."""
    made = []
    for _ in range(count):
        connection = Connection(port)
        stack.callback(connection.close)
        made.append(connection)
    return made


def unread_call(port: int, method: str, message: bytes, stack: ExitStack) -> Connection:
    """A call of one message (below 16 KiB) on a connection of its own, whose answer nobody lets
    in: the stream has no window."""
    connection = Connection(port, NO_WINDOW)
    stack.callback(connection.close)
    headers = {
        ":method": "POST", ":scheme": "http", ":path": method, ":authority": "chaos",
        "content-type": "application/grpc", "te": "trailers",
    }  # fmt: skip
    block = b"".join(b"\0" + _text(name) + _text(value) for name, value in headers.items())
    data = b"\0" + len(message).to_bytes(4) + message
    connection.send(_frame(1, 4, block) + _frame(0, 1, data))  # all headers; the end of the stream
    return connection


def _frame(kind: int, flags: int, payload: bytes) -> bytes:
    """Of the first stream."""
    return len(payload).to_bytes(3) + bytes([kind, flags]) + (1).to_bytes(4) + payload


def _text(value: str) -> bytes:
    """As it stands, below 127 bytes."""
    return bytes([len(value)]) + value.encode()
