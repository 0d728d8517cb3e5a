"""The queue: by deadline, and fair between device classes."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from gateway.scheduling.deadline_queue import DeadlineQueue


@dataclass(frozen=True, eq=False)
class Job:
    until_ms: float
    number: int
    device_class: str = "a"


def _queue(*jobs: Job) -> DeadlineQueue[Job]:
    queue: DeadlineQueue[Job] = DeadlineQueue()
    for job in jobs:
        queue.add(job)
    return queue


@given(st.lists(st.floats(0, 10)), st.data())
def test_stays_in_order_whatever_comes_and_goes(
    deadlines: list[float], data: st.DataObject
) -> None:
    jobs = [Job(until, number) for number, until in enumerate(deadlines)]
    gone = data.draw(st.lists(st.sampled_from(jobs), unique=True) if jobs else st.just([]))
    queue = _queue(*jobs)
    assert all(queue.remove(job) for job in gone)
    left = [job for job in jobs if job not in gone]
    assert list(queue) == sorted(left, key=lambda job: (job.until_ms, job.number))


def test_a_job_is_removed_once() -> None:
    job = Job(1.0, 0)
    queue = _queue(job, Job(1.0, 1))
    assert [queue.remove(job), queue.remove(job)] == [True, False]
    assert len(queue) == 1


def test_takes_jobs_by_place() -> None:
    jobs = [Job(float(n), n) for n in range(4)]
    queue = _queue(*jobs)
    assert queue.take((0, 2)) == [jobs[0], jobs[2]]
    assert list(queue) == [jobs[1], jobs[3]]


def test_the_newcomer_goes_where_its_class_has_most() -> None:
    queue = _queue(Job(1.0, 0), Job(2.0, 1))
    newcomer = Job(0.5, 2)
    assert queue.gives_way(newcomer) is newcomer


def test_the_latest_of_a_crowd_gives_way_to_a_class_with_few() -> None:
    crowd = [Job(1.0, 0), Job(3.0, 1), Job(2.0, 2)]
    queue = _queue(*crowd, Job(9.0, 3, "b"))
    assert queue.gives_way(Job(5.0, 4, "b")) is crowd[1]


def test_classes_with_as_many_do_not_push_one_another_out() -> None:
    queue = _queue(Job(1.0, 0), Job(2.0, 1, "b"))
    newcomer = Job(5.0, 2, "b")
    assert queue.gives_way(newcomer) is newcomer
