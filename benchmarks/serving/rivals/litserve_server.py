"""LitServe in front of `subnet_file`.

python litserve_server.py PORT WORKERS BATCH DELAY_MS

It reads the annotations of `decode_request`, which therefore are not postponed ones.
"""

import sys
from typing import Annotated

import litserve
from fastapi import Body, Response
from subnet_file import SubnetFile


class Subnet(litserve.LitAPI):  # type: ignore[misc]
    def setup(self, _device: str) -> None:
        self.subnet = SubnetFile()

    def decode_request(
        self, request: Annotated[bytes, Body(media_type="application/octet-stream")]
    ) -> bytes:
        return request

    def batch(self, inputs: list[bytes]) -> list[bytes]:
        return inputs

    def predict(self, images: list[bytes] | bytes) -> list[bytes] | bytes:
        return self.subnet(images) if isinstance(images, list) else self.subnet([images])[0]

    def unbatch(self, output: list[bytes]) -> list[bytes]:
        return output

    def encode_response(self, output: bytes) -> Response:
        return Response(output, media_type="application/octet-stream")


if __name__ == "__main__":
    port, workers, batch, delay_ms = map(int, sys.argv[1:])
    api = Subnet(max_batch_size=batch, batch_timeout=delay_ms / 1000)
    server = litserve.LitServer(
        api, accelerator="cpu", devices=1, workers_per_device=workers, fast_queue=True
    )
    server.run("127.0.0.1", port, generate_client_file=False, log_level="warning")
