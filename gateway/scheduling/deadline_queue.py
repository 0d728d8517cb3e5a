"""Those who wait, by deadline, and who gives way where not all can stay. Knows no threads."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Generic, Protocol, TypeVar


class Queued(Protocol):
    """What the queue knows of a job. `number` tells jobs of one deadline apart."""

    @property
    def until_ms(self) -> float: ...

    @property
    def number(self) -> int: ...

    @property
    def device_class(self) -> str: ...


J = TypeVar("J", bound=Queued)


def _order(job: Queued) -> tuple[float, int]:
    return job.until_ms, job.number


class DeadlineQueue(Generic[J]):
    """Earliest deadline first."""

    def __init__(self) -> None:
        self._jobs: list[J] = []
        self._places: Counter[str] = Counter()  # by device class

    def __len__(self) -> int:
        return len(self._jobs)

    def __iter__(self) -> Iterator[J]:
        return iter(self._jobs)

    @property
    def first(self) -> J | None:
        """Whose turn is next."""
        return self._jobs[0] if self._jobs else None

    def before(self, job: J) -> Iterator[J]:
        """Those whose turn is before a job's, which need not be there."""
        return iter(self._jobs[: bisect_left(self._jobs, _order(job), key=_order)])

    def add(self, job: J) -> None:
        insort(self._jobs, job, key=_order)
        self._places[job.device_class] += 1

    def remove(self, job: J) -> bool:
        """Whether it was there."""
        place = bisect_left(self._jobs, _order(job), key=_order)
        if place == len(self._jobs) or self._jobs[place] is not job:
            return False
        self._give_up(place)
        return True

    def take(self, places: Sequence[int]) -> list[J]:
        """Remove and return the jobs at increasing places."""
        jobs = [self._jobs[place] for place in places]
        for place in reversed(places):
            self._give_up(place)
        return jobs

    def gives_way(self, newcomer: J, *, before: bool = False) -> J:
        """Who has to go where there is one too many: of the device class that would have the most
        jobs, the one with the latest deadline; with `before`, of those whose turn is before the
        newcomer's. The newcomer itself, unless its class has fewer than another."""
        counts = self._places + Counter([newcomer.device_class])
        most = max(counts.values())
        if counts[newcomer.device_class] == most:
            return newcomer
        crowd = {name for name, count in counts.items() if count == most}
        jobs = list(self.before(newcomer)) if before else self._jobs
        return next((job for job in reversed(jobs) if job.device_class in crowd), newcomer)

    def _give_up(self, place: int) -> None:
        job = self._jobs.pop(place)
        self._places[job.device_class] -= 1
