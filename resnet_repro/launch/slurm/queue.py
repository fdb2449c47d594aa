"""The SLURM jobs of runs, while SLURM lists them.

<results>/runs/slurm/jobs.json    {digest of a run: id of the last job submitted for it}

Keyed by digest, not by run id: rows of several tables may be the same run.
"""

import getpass
import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from resnet_repro.errors import UserError
from resnet_repro.files import exclusive_lock, read_bytes, write_atomically
from resnet_repro.records.jobs import Job
from resnet_repro.records.schema import TEXT, check
from resnet_repro.strict_json import read_json


def folder(results: Path) -> Path:
    """Return the folder of the batch scripts, the job logs and the list of jobs."""
    return results / "runs" / "slurm"


def note_jobs(results: Path, jobs: Mapping[str, str]) -> None:
    """Record the jobs of runs, by the runs' digests."""
    with exclusive_lock(folder(results) / "lock"):
        noted = {**_noted(results), **jobs}
        write_atomically(folder(results) / "jobs.json", json.dumps(noted, indent=1) + "\n")


def find_jobs(results: Path) -> dict[str, Job]:
    """Return the jobs that SLURM still lists, by the runs' digests.

    Raises:
        UserError: squeue failed.
    """
    noted = _noted(results)
    if not noted or not shutil.which("squeue"):
        return {}
    asked = subprocess.run(
        ["squeue", "--noheader", "--array", f"--user={getpass.getuser()}", "--format=%i|%T|%r"],
        capture_output=True,
        text=True,
    )
    if asked.returncode:
        raise UserError(f"cannot list the SLURM jobs: squeue: {asked.stderr.strip()}")
    jobs = {}
    for line in asked.stdout.splitlines():
        id, state, reason = line.strip().split("|", 2)
        jobs[id] = Job(id, state, "" if reason == "None" else reason)
    return {run: jobs[id] for run, id in noted.items() if id in jobs}


def _noted(results: Path) -> dict[str, str]:
    path = folder(results) / "jobs.json"
    try:
        content = read_bytes(path)
        noted = {} if content is None else read_json(content)
        check(noted, {}, more=TEXT)
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path} is damaged ({error}): delete it; queued runs are then submitted a second time"
        ) from error
    return dict(noted)
