from __future__ import annotations

import hypothesis
import hypothesis.strategies as st
import pytest

from gateway.learning import evidence as evidence_module
from gateway.learning.evidence import Estimate, Evidence, merged, read_evidence

estimates = st.builds(
    Estimate,
    client=st.sampled_from("abc"),
    subnet=st.sampled_from("xy"),
    latency_ms=st.floats(1e-3, 6e5),
    reports=st.integers(1, 10**6),
)
parts = st.builds(
    Evidence, base=st.integers(0, 1), estimates=st.lists(estimates, max_size=5).map(tuple)
)


@hypothesis.given(part=parts)
def test_a_document_is_read_back(part: Evidence) -> None:
    assert read_evidence(part.document()) == part


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"\xff",
        b"[]",
        b'{"estimates": []}',
        b'{"base": 1, "estimates": [["a", "x", -1.0, 1]]}',
        b'{"base": 1, "estimates": [["a", "x", NaN, 1]]}',
        b'{"base": 1, "estimates": [["a", "x", 1.0, 0]]}',
        b'{"base": 1, "estimates": [["a", "x", 1.0]]}',
        b'{"base": 1, "estimates": [["%s", "x", 1.0, 1]]}' % (300 * b"a"),
    ],
)
def test_nonsense_of_another_gateway_is_no_evidence(document: bytes) -> None:
    assert read_evidence(document) is None
    good = Evidence(base=1, estimates=(Estimate("a", "x", 1.0, 2),))
    assert merged(1, [read_evidence(document), good]) == good


@hypothesis.given(given=st.lists(parts, max_size=4))
def test_a_client_has_one_say_wherever_it_reports(given: list[Evidence]) -> None:
    together = merged(1, given)
    of_base = [e for part in given if part.base == 1 for e in part.estimates]
    assert {(e.client, e.subnet) for e in together.estimates} == {
        (e.client, e.subnet) for e in of_base
    }
    assert len({(e.client, e.subnet) for e in together.estimates}) == len(together.estimates)
    for estimate in together.estimates:
        same = [e for e in of_base if (e.client, e.subnet) == (estimate.client, estimate.subnet)]
        assert estimate in same
        assert estimate.reports == max(e.reports for e in same)


def test_what_is_shared_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evidence_module, "_MOST_SHARED", 2)
    found = tuple(Estimate("abc"[i], "x", 1.0, (5, 1, 9)[i]) for i in range(3))
    shared = read_evidence(Evidence(base=1, estimates=found).document())
    assert shared is not None
    assert [e.reports for e in shared.estimates] == [9, 5]
