"""Reports in, estimates out, in bounded memory whatever comes."""

from __future__ import annotations

import asyncio
import math
import random
import tracemalloc
from contextlib import suppress
from dataclasses import replace
from statistics import median

import hypothesis
import hypothesis.strategies as st
import pytest

from gateway.config import LearningConfig
from gateway.device_classes import DeviceClasses
from gateway.learning.evidence import Estimate
from gateway.learning.report_book import FARTHEST, ReportBook
from gateway.learning.reports import RefusedReportError, Report
from gateway.stores.tables import StoredTable
from supernet.latency import LatencyTable
from supernet.manifest import Manifest
from tests.gateway.following import phone

SUBNET, OTHER = "d2-2@12", "d3-3@12"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def classes(manifest: Manifest, alpha: LatencyTable) -> DeviceClasses:
    return DeviceClasses(manifest, [alpha], fallback="alpha")


def book_of(
    classes: DeviceClasses, manifest: Manifest, clock: Clock, **config: object
) -> ReportBook:
    given = LearningConfig.model_validate({"min_reports": 2, "window_s": 100.0} | config)
    return ReportBook(classes, manifest.artifact_hash, given, clock)


@pytest.fixture
def book(classes: DeviceClasses, manifest: Manifest, clock: Clock) -> ReportBook:
    return book_of(classes, manifest, clock)


def refused(book: ReportBook, report: Report) -> tuple[str, str]:
    with pytest.raises(RefusedReportError) as caught:
        book.take(report)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 300
    return caught.value.reason, message


def estimates(book: ReportBook, classes: DeviceClasses, name: str = "alpha") -> list[Estimate]:
    stored = classes.known(name)
    assert stored is not None
    return list(asyncio.run(book.evidence(stored)).estimates)


def test_an_estimate_is_a_client_s_median(
    book: ReportBook, classes: DeviceClasses, alpha: LatencyTable
) -> None:
    at = alpha.latency_ms[SUBNET]
    times = [at * random.Random(0).lognormvariate(0, 0.3) for _ in range(101)]
    for ms in times:
        assert book.take(Report("alpha", SUBNET, ms, "a")) == ("alpha", ms / at)
    book.take(Report("alpha", SUBNET, at, "b"))
    (estimate,) = estimates(book, classes)
    assert (estimate.client, estimate.subnet, estimate.reports) == ("a", SUBNET, 101)
    assert estimate.latency_ms == pytest.approx(median(times), rel=0.0101)
    assert (book.names, book.clients("alpha"), book.series) == ({"alpha"}, 2, 2)
    assert book.clients("beta") == 0


@pytest.mark.parametrize(
    ("change", "reason", "words"),
    [
        ({"device_class": "gamma"}, "device_class", "device_class: 'gamma' is not known"),
        ({"device_class": ""}, "device_class", "device_class: '' is not known"),
        ({"device_class": "x" * 9999}, "device_class", "(9999 long)"),
        ({"subnet": "d9-9@12"}, "subnet", "subnet: 'd9-9@12' is not in the table of 'alpha'"),
        ({"subnet": ""}, "subnet", "subnet: ''"),
        ({"artifact_hash": "b" * 32}, "artifact", "artifact_hash: '" + "b" * 32),
        ({"latency_ms": math.nan}, "latency", "latency_ms: expected 0."),
        ({"latency_ms": math.inf}, "latency", "got inf"),
        ({"latency_ms": -math.inf}, "latency", "got -inf"),
        ({"latency_ms": 0.0}, "latency", "got 0"),
        ({"latency_ms": -1.0}, "latency", "got -1"),
        ({"latency_ms": 1e-9}, "latency", "got 1e-09"),
        ({"latency_ms": 1e300}, "latency", "got 1e+300"),
    ],
)
def test_nonsense_is_refused_by_its_field(
    book: ReportBook, alpha: LatencyTable, change: dict[str, object], reason: str, words: str
) -> None:
    report = Report("alpha", SUBNET, alpha.latency_ms[SUBNET], "a", alpha.artifact_hash)
    said = refused(book, replace(report, **change))  # type: ignore[arg-type]
    assert said[0] == reason
    assert words in said[1]
    assert (book.names, book.series) == (set(), 0)
    book.take(report)


def test_what_is_far_from_the_table_is_another_unit(book: ReportBook, alpha: LatencyTable) -> None:
    at = alpha.latency_ms[SUBNET]
    for factor in (1 / FARTHEST, FARTHEST):
        book.take(Report("alpha", SUBNET, at * factor, "a"))
        assert refused(book, Report("alpha", SUBNET, at * factor**1.01, "a"))[0] == "latency"


def test_a_report_by_an_alias_is_about_the_class_it_means(
    book: ReportBook, classes: DeviceClasses, alpha: LatencyTable
) -> None:
    classes.replace({}, {"first": "alpha"})
    assert book.take(Report("first", SUBNET, alpha.latency_ms[SUBNET], "a"))[0] == "alpha"
    assert book.resolve("first") == "alpha"
    assert book.resolve("gamma") is None, "the fallback learns nothing from strangers"


def test_a_client_may_only_send_so_much(
    classes: DeviceClasses, manifest: Manifest, alpha: LatencyTable, clock: Clock
) -> None:
    bounds = {"max_client_series": 2, "max_client_reports": 5, "max_series": 8}
    book = book_of(classes, manifest, clock, **bounds)
    subnets = list(alpha.latency_ms)

    def report(i: int, client: str = "a") -> Report:
        return Report("alpha", subnets[i], alpha.latency_ms[subnets[i]], client)

    book.take(report(0))
    book.take(report(1))
    assert refused(book, report(2)) == ("full", "expected at most 2 subnets of one client")
    for _ in range(3):
        book.take(report(0))
    assert refused(book, report(0)) == ("rate", "expected at most 5 reports in 50 s of one client")
    assert refused(book, report(2))[0] == "rate"
    for client in ("b", "c"):
        book.take(report(0, client))
    assert refused(book, report(0, "d")) == ("full", "no more can be kept for now")
    book.take(report(0, "b"))
    assert (book.series, book.clients("alpha")) == (4, 3)
    clock.now = 60.0
    book.take(report(0, "a"))
    book.take(report(0, "d"))
    assert (book.series, book.clients("alpha")) == (6, 4)


def test_reports_count_for_a_window(
    book: ReportBook, classes: DeviceClasses, alpha: LatencyTable, clock: Clock
) -> None:
    def report(ratio: float) -> None:
        book.take(Report("alpha", SUBNET, alpha.latency_ms[SUBNET] * ratio, "a"))

    def seen() -> list[tuple[float, int]]:
        at = alpha.latency_ms[SUBNET]
        return [(round(e.latency_ms / at, 1), e.reports) for e in estimates(book, classes)]

    for _ in range(3):
        report(1.0)
    clock.now = 49.0
    report(1.0)
    assert seen() == [(1.0, 4)]
    clock.now = 51.0
    for _ in range(5):
        report(2.0)
    assert seen() == [(2.0, 9)], "both halves count"
    clock.now = 102.0
    assert seen() == [(2.0, 5)]
    clock.now = 202.0
    assert seen() == []
    report(1.0)
    report(1.0)
    assert seen() == [(1.0, 2)]


def test_another_table_makes_earlier_reports_worthless(
    book: ReportBook, classes: DeviceClasses, alpha: LatencyTable
) -> None:
    def report() -> None:
        for _ in range(2):
            book.take(Report("phone", SUBNET, alpha.latency_ms[SUBNET], "a"))

    def count() -> int:
        return len(estimates(book, classes, "phone"))

    first = phone(alpha, 1)
    learned = first.model_copy(update={"kind": "learned", "conditions": {"base_version": "1"}})
    classes.replace({"phone": StoredTable(1, first)})
    report()
    classes.replace({"phone": StoredTable(2, learned)})
    assert count() == 1, "a learned one stands on the same"
    classes.replace({"phone": StoredTable(3, first)})
    assert (count(), book.series) == (0, 0)
    report()
    assert (count(), book.series) == (1, 1)


def test_others_run_while_much_is_read(
    classes: DeviceClasses, manifest: Manifest, alpha: LatencyTable, clock: Clock
) -> None:
    book = book_of(classes, manifest, clock, min_reports=1)
    for i in range(1000):
        book.take(Report("alpha", SUBNET, alpha.latency_ms[SUBNET], f"c{i}"))
    stored = classes.known("alpha")
    assert stored is not None

    async def turns_until_read() -> int:
        reading = asyncio.create_task(book.evidence(stored))
        turns = 0
        await asyncio.sleep(0)
        while not reading.done():
            turns += 1
            book.take(Report("alpha", OTHER, alpha.latency_ms[OTHER], f"d{turns}"))
            await asyncio.sleep(0)
        assert len(reading.result().estimates) == 1000
        return turns

    assert asyncio.run(turns_until_read()) >= 10


@hypothesis.settings(suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
@hypothesis.given(
    reports=st.lists(
        st.tuples(
            st.sampled_from(["alpha", "phone", "gamma"]),
            st.sampled_from([SUBNET, OTHER, "d4-4@16", "x"]),
            st.floats(),
            st.sampled_from("abcdef"),
            st.floats(0, 30),
        ),
        max_size=60,
    )
)
def test_memory_is_bounded_whatever_comes(
    classes: DeviceClasses, manifest: Manifest, alpha: LatencyTable,
    reports: list[tuple[str, str, float, str, float]],
) -> None:  # fmt: skip
    clock = Clock()
    book = book_of(classes, manifest, clock, max_series=6, max_client_series=2, window_s=40.0)
    for name, subnet, factor, client, passed_s in reports:
        clock.now += passed_s
        with suppress(RefusedReportError):
            book.take(Report(name, subnet, factor * alpha.latency_ms.get(subnet, 1.0), client))
        counted = [
            len(client.sketches)
            for half in book._halves
            for clients in half.classes.values()
            for client in clients.values()
        ]
        assert sum(counted) == book.series <= 6
        assert all(1 <= count <= 2 for count in counted)


def test_a_sketch_is_small_however_wide_its_reports(
    classes: DeviceClasses, manifest: Manifest, alpha: LatencyTable, clock: Clock
) -> None:
    book, at, chance = book_of(classes, manifest, clock), alpha.latency_ms[SUBNET], random.Random(0)
    tracemalloc.start()
    try:
        for client in range(20):
            for _ in range(500):
                ms = at * math.exp(chance.uniform(-math.log(FARTHEST), math.log(FARTHEST)))
                book.take(Report("alpha", SUBNET, ms, f"c{client}"))
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken / 20 < 12_000
