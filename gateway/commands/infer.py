"""The command `infer`: images in, classes out, in this process or by a gateway."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Callable
from pathlib import Path

from gateway.cli import console, constraints_of, shipped_artifact
from gateway.client import Client, Inferred
from gateway.commands import credentials as cli_credentials
from gateway.config import ServerConfig
from gateway.errors import GatewayError
from gateway.request import Constraints, ImageInput

Classify = Callable[[bytes], Inferred]


def infer(arguments: argparse.Namespace) -> int:
    """Classify every image given, then print all the answers."""
    cli_credentials.check_target(arguments)
    constraints = constraints_of(arguments)
    by = _here if arguments.target is None else _by_gateway
    answers = by(arguments, constraints)
    if arguments.json:
        print(json.dumps([answer.as_json() for answer in answers]))
    else:
        _print(arguments.images, answers)
    return 0


def _by_gateway(arguments: argparse.Namespace, constraints: Constraints) -> list[Inferred]:
    if arguments.artifact or arguments.store:
        raise ValueError("--target: the gateway has its own --artifact and --store")
    with Client(arguments.target, credentials=cli_credentials.credentials_of(arguments)) as client:
        return _each(arguments.images, lambda image: client.infer(image, constraints))


def _here(arguments: argparse.Namespace, constraints: Constraints) -> list[Inferred]:
    from gateway.opening import open_pipeline

    artifact = arguments.artifact or shipped_artifact()
    config = ServerConfig(artifact=artifact, store=arguments.store, processes=False)
    with open_pipeline(config) as pipeline, asyncio.Runner() as loop:

        def classify(image: bytes) -> Inferred:
            answer = loop.run(pipeline.infer(ImageInput(image), constraints))
            return Inferred.of(answer, pipeline.labels)

        return _each(arguments.images, classify)


def _each(paths: list[Path], classify: Classify) -> list[Inferred]:
    """Every image's answer, in order; an error names the image it is about."""
    answers = []
    for path in paths:
        image = path.read_bytes()
        try:
            answers.append(classify(image))
        except GatewayError as error:
            raise ValueError(f"{path}: {error.safe_message}") from None
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
    return answers


def _print(paths: list[Path], answers: list[Inferred]) -> None:
    from rich.table import Table

    table = Table(
        "image", "label", "subnet", "expected accuracy", "predicted ms", "compute ms", "degraded"
    )
    for path, answer in zip(paths, answers, strict=True):
        table.add_row(
            str(path),
            answer.label,
            answer.subnet,
            f"{answer.expected_accuracy:.4f}",
            f"{answer.predicted_latency_ms:.4g}",
            f"{answer.compute_ms:.4g}",
            "yes" if answer.degraded else "no",
        )
    console().print(table)
