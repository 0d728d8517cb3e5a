"""Load: one call after another, whatever becomes of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import grpc

from gateway.client import CallError


@contextmanager
def asking(ask: Callable[[], object]) -> Iterator[list[grpc.StatusCode]]:
    """Call `ask` again and again, from a thread; the codes that its calls end in."""
    codes: list[grpc.StatusCode] = []
    stop = threading.Event()

    def keep_asking() -> None:
        while not stop.is_set():
            try:
                ask()
                codes.append(grpc.StatusCode.OK)
            except grpc.RpcError as error:
                codes.append(error.code())
            except CallError as error:
                codes.append(grpc.StatusCode[error.code])

    thread = threading.Thread(target=keep_asking)
    thread.start()
    try:
        yield codes
    finally:
        stop.set()
        thread.join()
