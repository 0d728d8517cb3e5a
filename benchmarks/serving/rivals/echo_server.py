"""grpc.aio with nothing behind it: takes a request, gives as many bytes as a thousand logits.

python echo_server.py PORT
"""

from __future__ import annotations

import asyncio
import sys

import grpc

METHOD = "/benchmark.Echo/Take"
ANSWER = bytes(4000)


async def take(_request: bytes, _context: object) -> bytes:
    return ANSWER


async def serve(port: int) -> None:
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", -1)])
    service, _, method = METHOD[1:].partition("/")
    handler = grpc.unary_unary_rpc_method_handler(take)
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler(service, {method: handler})]
    )
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
