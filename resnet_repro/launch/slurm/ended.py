"""Why the jobs of runs have ended, and what they printed."""

import re
import shutil
from collections.abc import Collection, Iterable
from pathlib import Path

from resnet_repro.files import read_bytes
from resnet_repro.launch.slurm.queue import ask, folder, noted

LAST_BYTES = 2**14  # of a job's log, in which the reason for its end is
LAST_LINES = 20
# How SLURM, the kernel and programs say why they end something, the plainest first.
REASONS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"CANCELLED AT.*|.*(?:oom.kill|out of memory|no space left).*",  # the step's id is no job's
        r".*(?:error|killed).*",
        r".*",
    )
)


def find_logs(results: Path, digests: Collection[str]) -> dict[str, Path]:
    """Return, by the runs' digests, the file that has what the last job of each printed."""
    logs = {run: folder(results) / f"{job}.log" for run, job in noted(results).items()
            if run in digests}  # fmt: skip
    return {run: path for run, path in logs.items() if path.is_file()}


def why_ended(results: Path, digests: Collection[str]) -> dict[str, str]:
    """Return why the last job of runs has ended, by the runs' digests.

    As SLURM's accounting has it; on a cluster without, as the end of the job's log tells.

    Args:
        results: The output root.
        digests: Of runs that no job in the queue carries out.
    """
    jobs = {run: job for run, job in noted(results).items() if run in digests}
    states = _accounted(jobs.values()) if jobs else {}
    found = {}
    for run, job in jobs.items():
        log = folder(results) / f"{job}.log"
        reason = states.get(job) or _reason_in(log)
        if reason:
            found[run] = f"job {job} ended: {reason}"
    return found


def _accounted(jobs: Iterable[str]) -> dict[str, str]:
    """Return how jobs ended, where SLURM keeps accounts: `OUT_OF_MEMORY`, `FAILED, exit code 1`."""
    if not shutil.which("sacct"):
        return {}
    asked = ask("sacct", "--noheader", "--parsable2", "--allocations", "--array",
                 f"--jobs={','.join({job.partition('_')[0] for job in jobs})}",
                 "--format=JobID,State,ExitCode")  # fmt: skip
    found = {}
    for line in asked.stdout.splitlines() if asked.returncode == 0 else []:
        id, state, code = [*line.split("|"), "", ""][:3]
        if state.split(" ")[0] not in ("COMPLETED", "PENDING", "RUNNING", "REQUEUED", ""):
            number = code.partition(":")[0]
            more = f", exit code {number}" if number.strip("0") and state == "FAILED" else ""
            found[id] = state + more
    return found


def _reason_in(log: Path) -> str:
    """Return the line of a job's log that tells best why it ended; its last one, in doubt."""
    try:
        text = (read_bytes(log, LAST_BYTES) or b"").decode(errors="replace")
    except OSError:
        return ""
    lines = [line for line in text.splitlines() if line.strip()][: -LAST_LINES - 1 : -1]
    found = (said for reason in REASONS for line in lines if (said := reason.search(line)))
    return next((said[0].strip("* ") for said in found), "")
