"""Mosec in front of `subnet_file`.

python mosec_server.py WORKERS BATCH DELAY_MS --address 127.0.0.1 --port PORT
"""

from __future__ import annotations

import sys

import mosec
from subnet_file import SubnetFile


class Subnet(mosec.Worker):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.subnet = SubnetFile()

    def deserialize(self, data: bytes) -> bytes:
        return data

    def forward(self, data: list[bytes] | bytes) -> list[bytes] | bytes:
        return self.subnet(data) if isinstance(data, list) else self.subnet([data])[0]

    def serialize(self, data: bytes) -> bytes:
        return data


if __name__ == "__main__":
    workers, batch, delay_ms = (int(sys.argv.pop(1)) for _ in range(3))
    server = mosec.Server()
    server.append_worker(Subnet, num=workers, max_batch_size=batch, max_wait_time=delay_ms)
    server.run()
