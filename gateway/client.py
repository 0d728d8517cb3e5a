"""A small client of a gateway, as the command line and the demo use it.

Uses nothing but the generated protocol; anyone's own client can be made the same way.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import grpc

from gateway.request import Answer, Constraints
from protos.compofa.v1 import gateway_pb2, gateway_pb2_grpc

DEFAULT_DEADLINE_S = 30.0


@dataclass(frozen=True, slots=True)
class Classified:
    """What one image was answered with: the class as index and name, which subnet, its cost."""

    subnet: str
    class_index: int
    label: str
    expected_accuracy: float
    predicted_latency_ms: float
    compute_ms: float
    queue_ms: float
    degraded: bool

    @classmethod
    def of(cls, answer: Answer, labels: tuple[str, ...]) -> Classified:
        """The first row of an answer made in this process."""
        best = int(answer.logits[0].argmax())
        return cls(
            subnet=answer.selection.subnet,
            class_index=best,
            label=labels[best],
            expected_accuracy=answer.selection.accuracy,
            predicted_latency_ms=answer.selection.latency_ms,
            compute_ms=answer.compute_ms,
            queue_ms=answer.queue_ms,
            degraded=answer.selection.degraded,
        )

    def as_json(self) -> dict[str, object]:
        """The object that `infer --json` prints."""
        return {
            "subnet": self.subnet,
            "class": self.class_index,
            "label": self.label,
            "expected_accuracy": self.expected_accuracy,
            "predicted_latency_ms": self.predicted_latency_ms,
            "compute_ms": self.compute_ms,
            "queue_ms": self.queue_ms,
            "degraded": self.degraded,
        }


@dataclass(frozen=True, slots=True)
class Reported:
    """What became of reported latencies. `refused` has, by reason, how many, and `messages` what
    was wrong with the first of them."""

    taken: int
    refused: dict[str, int]
    messages: dict[str, str]


class CallError(ValueError):
    """A gateway turned a call down or could not be reached; one line with the status."""


class Client:
    """One connection to the gateway at `target` (HOST:PORT). Use it as a context manager."""

    def __init__(self, target: str, deadline_s: float = DEFAULT_DEADLINE_S) -> None:
        self.target, self._deadline_s = target, deadline_s
        self._channel = grpc.insecure_channel(target)
        self._stub = gateway_pb2_grpc.SubnetGatewayStub(self._channel)

    def classify(self, image: bytes, constraints: Constraints) -> Classified:
        """The answer for one encoded image. Raises `CallError`."""
        request = gateway_pb2.InferRequest(
            device_class=constraints.device_class,
            latency_budget_ms=constraints.latency_budget_ms,
            min_accuracy=constraints.min_accuracy,
            image=image,
        )
        try:
            response = self._stub.Infer(request, timeout=self._deadline_s)
        except grpc.RpcError as error:
            raise CallError(f"{self.target}: {_described(error)}") from None
        return _classified(response)

    def device_classes(self) -> list[gateway_pb2.DeviceClass]:
        """The device classes the gateway knows. Raises `CallError`."""
        request = gateway_pb2.ListDeviceClassesRequest()
        try:
            response = self._stub.ListDeviceClasses(request, timeout=self._deadline_s)
        except grpc.RpcError as error:
            raise CallError(f"{self.target}: {_described(error)}") from None
        return list(response.device_classes)

    def report_latency(
        self, device_class: str, measured: Iterable[tuple[str, float]], client: str = ""
    ) -> Reported:
        """Tell the gateway how long subnets took on this device: pairs of subnet id and
        milliseconds. Fewer may be counted than were sent: a gateway bounds a stream's length.
        Raises `CallError`, with UNIMPLEMENTED where the gateway does not learn."""
        requests = (
            gateway_pb2.ReportLatencyRequest(
                device_class=device_class, subnet=subnet, latency_ms=latency_ms, client=client
            )
            for subnet, latency_ms in measured
        )
        try:
            response = self._stub.ReportLatency(requests, timeout=self._deadline_s)
        except grpc.RpcError as error:
            raise CallError(f"{self.target}: {_described(error)}") from None
        return Reported(
            taken=response.taken,
            refused={reason.reason: reason.reports for reason in response.reasons},
            messages={reason.reason: reason.message for reason in response.reasons},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._channel.close()


def _classified(response: gateway_pb2.InferResponse) -> Classified:
    prediction = response.predictions[0]
    return Classified(
        subnet=response.subnet,
        class_index=prediction.class_index,
        label=prediction.label,
        expected_accuracy=response.expected_accuracy,
        predicted_latency_ms=response.predicted_latency_ms,
        compute_ms=response.compute_ms,
        queue_ms=response.queue_ms,
        degraded=response.degraded,
    )


def _described(error: grpc.RpcError) -> str:
    """The status and what the gateway said. What a stub raises is a call as well."""
    code, details = getattr(error, "code", None), getattr(error, "details", None)
    return f"{code().name}: {details()}" if code and details else str(error)
