"""Ending the jobs of runs."""

from collections.abc import Collection, Iterator
from pathlib import Path

from resnet_repro.errors import UserError
from resnet_repro.launch.slurm.queue import ask, find_jobs, listed, ranges
from resnet_repro.text import count


def cancel(results: Path, digests: Collection[str], selected: Collection[str]) -> Iterator[str]:
    """Take the jobs of runs out of the queue, and end those that run.

    A run that is under way gets SIGTERM, at which it saves a checkpoint and stops; SLURM kills it
    where that takes longer than the cluster's KillWait, 30 s by default. A job that also trains
    runs that are not selected is kept.

    Args:
        results: The output root.
        digests: The digests of the runs whose jobs are to end.
        selected: The digests of all runs that may end with them.

    Yields:
        What was cancelled, line by line.

    Raises:
        UserError: SLURM does not say which jobs there are, or refuses.
    """
    runs: dict[str, set[str]] = {}
    jobs = {}
    for digest, job in find_jobs(results).items():
        runs.setdefault(job.id, set()).add(digest)
        jobs[job.id] = job
    asked = [id for id, each in runs.items() if each & set(digests)]
    ours = [id for id in asked if runs[id] <= set(selected)]
    for id in asked:
        if id not in ours:
            yield f"job {id} was kept, as it also trains others; select those too to end it"
    if not ours:
        yield "no queued job trains these runs"
        return
    refused = ask("scancel", *ranges(ours))
    if refused.returncode:
        raise UserError(refused.stderr.strip() or "scancel failed")
    running = sum(jobs[id].state != "PENDING" for id in ours)
    yield f"{count(len(ours), 'job')} cancelled, {running} of them running: {listed(ours)}"
    if running:
        yield "Those that were running save a checkpoint first; submit again to resume."
