"""The programs that `verify.py` asks besides the libraries: a real helm, checkov, hadolint."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.charts.rendering import CHART, NAMESPACE, RELEASE, ROOT, Object, documents

HELM = ROOT / "build" / "helm" / "helm"
CHECKOV = ROOT / "build" / "checkov" / "bin" / "checkov"
HADOLINT = Path(sys.executable).with_name("hadolint")
DOCKERFILE = ROOT / "Dockerfile"


def helm_lint(values: Path) -> str:
    """What a real helm finds wrong, strictly; nothing if it is content."""
    done = _run(HELM, "lint", "--strict", "--values", values, CHART)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def helm_template(values: Path, version: str, *more: str) -> list[Object]:
    """What a real helm renders for a version of Kubernetes. Raises `ValueError` if it refuses."""
    told = ("--namespace", NAMESPACE, "--kube-version", f"{version}.0", *more)
    done = _run(HELM, "template", RELEASE, CHART, "--values", values, *told)
    if done.returncode:
        raise ValueError(done.stderr.strip())
    return documents(done.stdout)


def helm_version() -> str:
    return _run(HELM, "version", "--short").stdout.strip()


def checkov(framework: str, folder: Path) -> tuple[str, list[dict[str, Any]]]:
    """Checkov's version and all that it finds in a folder. It is told to fetch nothing."""
    # It would ask its vendor's servers otherwise.
    options = ("--framework", framework, "--quiet", "--compact", "--skip-download")
    done = _run(CHECKOV, *options, "--output", "json", "--directory", folder)
    if done.returncode not in (0, 1):
        raise RuntimeError(f"checkov: {done.stderr.strip()}")
    report = json.loads(done.stdout)
    if report["summary"]["parsing_errors"] or not report["summary"]["resource_count"]:
        raise RuntimeError(f"checkov read nothing, or not all: {report['summary']}")
    return report["summary"]["checkov_version"], report["results"]["failed_checks"]


def hadolint() -> str:
    """What hadolint finds; nothing if it is content."""
    done = _run(HADOLINT, "--failure-threshold", "info", DOCKERFILE)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def _run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    words = [str(word) for word in command]
    return subprocess.run(words, capture_output=True, text=True, timeout=600, check=False)
