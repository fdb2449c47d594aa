"""The runs of a machine, divided among its processes."""

import pytest

from resnet_repro.launch.job_queue import JobQueue, shared_counts


@pytest.mark.parametrize(
    ("number", "rooms", "taken"),
    [
        (4, [2, 2, 2], [1, 1, 2]),
        (3, [1, 1, 1], [1, 1, 1]),
        (9, [2] * 8, [*[1] * 7, 2]),
        (5, [1, 8], [1, 4]),  # one that is full does not hold the other back
        (9, [3, 3], [3, 3]),
    ],
)
def test_runs_are_spread_evenly_over_processes_that_take_what_they_can(number, rooms, taken):
    """The first process takes as much as it may before the second one asks, and so on."""
    counts = shared_counts(len(rooms))
    jobs = [(f"run {i}", "folder") for i in range(number)]
    queues = [JobQueue(jobs, counts, worker) for worker in range(len(rooms))]
    at_work = [[] for _ in rooms]
    for _ in range(number):
        for queue, own, room in zip(queues, at_work, rooms, strict=True):
            while job := queue.next_job(len(own)):
                if len(own) == room:
                    queue.hold()
                    break
                assert queue.take(job)
                own.append(job)
    assert sorted(len(own) for own in at_work) == taken
    assert len({job for own in at_work for job in own}) == sum(taken)
    # Where one run ends, the next one starts.
    at_work[-1].clear()
    rest = number - sum(taken)
    assert queues[-1].num_left() == -(-rest // len(rooms))
    assert (queues[-1].next_job(0) is not None) == (rest > 0)


def test_a_run_that_two_processes_look_at_is_taken_by_one():
    counts, jobs = shared_counts(2), [("a", "folder"), ("b", "folder")]
    queues = [JobQueue(jobs, counts, worker) for worker in (0, 1)]
    seen = [queue.next_job(0) for queue in queues]
    assert [queue.take(job) for queue, job in zip(queues, seen, strict=True)] == [True, False]
    assert queues[0].next_job(1) is None  # the other one has none yet
    assert queues[1].next_job(0) == jobs[1]
    assert queues[1].take(jobs[1])
    assert not queues[0].take(jobs[1])
    assert queues[0].next_job(0) is None
