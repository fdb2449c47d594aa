"""The SLURM jobs of runs, while SLURM lists them.

<results>/runs/slurm/jobs.json    {digest of a run: id of the last job submitted for it}
<results>/runs/slurm/JOB.log      the log of a job

Keyed by digest, not by run id: rows of several tables may be the same run.
"""

import json
import os
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from resnet_repro.errors import UserError
from resnet_repro.files import exclusive_lock, read_bytes, write_atomically
from resnet_repro.records.jobs import Job
from resnet_repro.records.schema import TEXT, check
from resnet_repro.strict_json import read_json
from resnet_repro.text import consecutive

SHOWN = 50  # jobs that are named one by one


def folder(results: Path) -> Path:
    """Return the folder of the batch scripts, the job logs and the list of jobs."""
    return results / "runs" / "slurm"


def note_jobs(results: Path, jobs: Mapping[str, str]) -> None:
    """Record the jobs of runs, by the runs' digests."""
    with exclusive_lock(folder(results) / "lock"):
        all_jobs = {**noted(results), **jobs}
        write_atomically(folder(results) / "jobs.json", json.dumps(all_jobs, indent=1) + "\n")


def find_jobs(results: Path) -> dict[str, Job]:
    """Return the jobs that SLURM still lists, by the runs' digests.

    Raises:
        UserError: squeue failed, or is not here.
    """
    given = noted(results)
    if not given:
        return {}
    asked = ask("squeue", "--noheader", "--array", f"--user={os.getuid()}",
                 "--format=%i|%T|%r")  # fmt: skip
    if asked.returncode:
        raise UserError(f"cannot list the SLURM jobs: squeue: {asked.stderr.strip()}")
    jobs = {}
    for line in asked.stdout.splitlines():
        id, state, reason = line.strip().split("|", 2)
        jobs[id] = Job(id, state, "" if reason == "None" else reason)
    return {run: jobs[id] for run, id in given.items() if id in jobs}


def ranges(jobs: Iterable[str]) -> list[str]:
    """Return the ids of jobs as scancel reads them: `4711_[0-3,7]`."""
    arrays: dict[str, list[int]] = {}
    for job in jobs:
        array, _, number = job.partition("_")
        arrays.setdefault(array, []).extend([int(number)] if number else [])
    return [f"{array}_[{_joined(numbers)}]" if numbers else array
            for array, numbers in arrays.items()]  # fmt: skip


def listed(jobs: Sequence[str]) -> str:
    """Return the ids of jobs for people."""
    return ", ".join(jobs if len(jobs) <= SHOWN else ranges(jobs))


def _joined(numbers: Iterable[int]) -> str:
    ends = (dict.fromkeys((part[0], part[-1])) for part in consecutive(numbers))
    return ",".join("-".join(map(str, each)) for each in ends)


def ask(*words: str) -> subprocess.CompletedProcess[str]:
    """Return what a program of SLURM answers.

    Raises:
        UserError: It is not here.
    """
    try:
        return subprocess.run(words, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise UserError(f"there is no {words[0]} here: use a machine of the cluster") from error


def noted(results: Path) -> dict[str, str]:
    """Return the last job of each run that was given one, by the runs' digests.

    Raises:
        UserError: The file is damaged.
    """
    path = folder(results) / "jobs.json"
    try:
        content = read_bytes(path)
        jobs = {} if content is None else read_json(content)
        check(jobs, {}, more=TEXT)
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path} is damaged ({error}): delete it; queued runs are then submitted a second time"
        ) from error
    return dict(jobs)
