"""Calls a gateway by Triton's client library and prints what came back, as JSON.

python triton_client.py HOST:PORT MODEL
"""

import json
import queue
import sys

import numpy as np
from tritonclient import grpc as triton  # type: ignore[import-untyped]
from tritonclient.utils import InferenceServerException  # type: ignore[import-untyped]

target, model = sys.argv[1:]
client = triton.InferenceServerClient(target)
metadata = client.get_model_metadata(model, as_json=True)
side = int(metadata["inputs"][0]["shape"][-1])
tensor = triton.InferInput("input", [4, 1, side, side], "FP32")
tensor.set_data_from_numpy(np.zeros((4, 1, side, side), np.float32))
alpha = {"device_class": "alpha", "latency_budget_ms": 1000}
result = client.infer(model, [tensor], parameters=alpha)

try:
    client.infer(model, [tensor], parameters={"device_class": "gamma"})
    error = ""
except InferenceServerException as failure:
    error = failure.message()

answers: queue.Queue[str] = queue.Queue()
client.start_stream(
    lambda result, error: answers.put(error.message() if error else result.get_response().id)
)
for number, device_class in enumerate(("alpha", "gamma", "alpha")):
    client.async_stream_infer(
        model, [tensor], request_id=str(number), parameters={"device_class": device_class}
    )
streamed = [answers.get(timeout=20) for _ in range(3)]
client.stop_stream()

statistics = client.get_inference_statistics(model, as_json=True)
json.dump(
    {
        "ready": [
            client.is_server_live(),
            client.is_server_ready(),
            client.is_model_ready(model),
        ],
        "shape": list(result.as_numpy("logits").shape),
        "subnet": result.get_response().parameters["subnet"].string_param,
        "streamed": streamed,
        "error": error,
        "counted": int(statistics["model_stats"][0]["inference_count"]),
    },
    sys.stdout,
)
