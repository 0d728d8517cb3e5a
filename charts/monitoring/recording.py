"""Recording rules: how fast each objective's budget is spent, over the windows of the alerts.

An objective is the share of requests that must go well. Its budget is the rest, and a burn rate of
1 spends exactly that. What a caller got wrong or gave up is neither good nor bad, and a device
class without traffic burns nothing.
"""

from __future__ import annotations

from collections.abc import Callable

WINDOWS = ("5m", "30m", "1h", "2h", "6h", "1d", "3d")
LARGEST_LOSS = 0.01  # accuracy that an answer may give up and still be a good one; a bucket's bound

INFERENCE = 'device_class!="", method!~"FetchSubnet|SelectSubnet"'
FAILED = "INTERNAL|UNKNOWN|DATA_LOSS|UNAVAILABLE|RESOURCE_EXHAUSTED"
LATE = "DEADLINE_EXCEEDED"
_BY = "namespace, job, device_class"
_GIVEN_UP = "compofa_accuracy_given_up"

Rule = dict[str, str]
Share = Callable[[str], str]
"""The expression of a share of requests, over a window."""


def document() -> dict[str, list[dict[str, object]]]:
    """The rule file."""
    failed, late = _requests(FAILED), _requests(LATE)
    groups = {
        "compofa-availability": [
            *_objective("availability", 0.999, _among(failed, _requests(f"OK|{LATE}|{FAILED}"))),
            _bad("availability", failed),
        ],
        "compofa-deadlines": [
            *_objective("deadlines", 0.99, _among(late, _requests(f"OK|{LATE}"))),
            _bad("deadlines", late),
        ],
        "compofa-accuracy": [
            *_objective("accuracy", 0.95, _gave_up_more),
            _mean(f"{_GIVEN_UP}:mean5m", _GIVEN_UP, "5m"),
        ],
        "compofa-prediction": [
            _mean(
                f"compofa_predicted_to_measured:mean{window}",
                "compofa_predicted_to_measured_latency_ratio",
                window,
            )
            for window in ("1h", "1d")
        ],
    }
    return {"groups": [{"name": name, "rules": rules} for name, rules in groups.items()]}


def burn(objective: str, window: str) -> str:
    """What the burn rate of an objective is recorded as."""
    return f"device_class:compofa_{objective}:burn{window}"


def _objective(name: str, share: float, bad: Share) -> list[Rule]:
    """The objective first, as a series of its own: burn rates divide by what it leaves."""
    allowed = f"(1 - max(compofa:{name}:objective))"
    rules = [{"record": f"compofa:{name}:objective", "expr": f"vector({share})"}]
    for window in WINDOWS:
        expr = f"({bad(window)}) / on () group_left () {allowed}"
        rules.append({"record": burn(name, window), "expr": expr})
    return rules


def _bad(name: str, bad: str) -> Rule:
    """How many: a share of next to nothing is no reason to wake anyone."""
    expr = f"sum by ({_BY}) (increase({bad}[1h]))"
    return {"record": f"device_class:compofa_{name}:bad1h", "expr": expr}


def _mean(name: str, metric: str, window: str) -> Rule:
    expr = f"{_rate(f'{metric}_sum', window)} / {_rate(f'{metric}_count', window)}"
    return {"record": f"device_class:{name}", "expr": expr}


def _among(bad: str, counted: str) -> Share:
    """0 where nothing bad was ever counted: that series does not exist then."""

    def share(window: str) -> str:
        every = _rate(counted, window)
        return f"({_rate(bad, window)} or 0 * {every}) / {every}"

    return share


def _gave_up_more(window: str) -> str:
    within, every = (
        _rate(series, window)
        for series in (f'{_GIVEN_UP}_bucket{{le="{LARGEST_LOSS}"}}', f"{_GIVEN_UP}_count")
    )
    return f"1 - {within} / {every}"


def _rate(series: str, window: str) -> str:
    return f"sum by ({_BY}) (rate({series}[{window}]))"


def _requests(codes: str) -> str:
    return f'compofa_requests_total{{{INFERENCE}, code=~"{codes}"}}'
