"""An experiment's runs as an array of SLURM jobs, which save when their time is up and come back.

The array is a shell script that anyone can read, and `sbatch` by hand.
"""

import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from resnet_repro.cluster import ClusterConfig
from resnet_repro.command import INTERRUPTED, select
from resnet_repro.errors import UserError
from resnet_repro.jobs import find_jobs, folder, note_jobs
from resnet_repro.plan import Ensemble, Plan, Run
from resnet_repro.records import Record, write_atomically
from resnet_repro.report.text import count

SCRIPT = """\
#!/bin/bash
{options}
# Made by `resnet-repro submit`.

case $SLURM_ARRAY_TASK_ID in
{cases}
esac

srun --kill-on-bad-exit=1 --cpus-per-task={cpus} \\
  {program} "$@" &
step=$!

# The time is nearly up: the program saves, and SLURM puts this job into its queue again.
# (SLURM_JOB_ID of one of the jobs is the number of the whole array; and srun, told to end, kills.)
job=${{SLURM_ARRAY_JOB_ID}}_$SLURM_ARRAY_TASK_ID
trap 'late=yes; scancel --signal=INT $job' USR1
wait $step; code=$?
if [ "$late" ]; then wait $step; code=$?; fi
if [ "$late" ] && [ $code != 0 ]; then exec scontrol requeue $job; fi

# Stopped by SLURM, for a job that goes before it or because someone cancelled it: only SLURM knows
# whether it is to come back, and a job that ends by itself does not. (Of several processes the first
# to stop has srun end the others: {terminated}.)
if [ $code = {stopped} ] || [ $code = {terminated} ]; then sleep 600; fi
exit $code
"""


@dataclass(frozen=True)
class Element:
    """A job of an array.

    Attributes:
        words: What its command line says beside what all say.
        work: What it carries out.
    """

    words: tuple[str, ...]
    work: tuple[Run | Ensemble, ...]


def submit(plan: Plan, cluster: ClusterConfig, words: Sequence[str]) -> str:
    """Submit what is missing of a plan, and return without waiting for it.

    Args:
        plan: What is asked for; what a job in the queue is to carry out is left to that.
        cluster: What to ask of SLURM for each job.
        words: What the command line says beside verb, rows, seeds and cluster.

    Returns:
        What was submitted, as text.

    Raises:
        UserError: SLURM is not here, or refuses.
    """
    queue = find_jobs(plan.results)
    todo = [run for run in plan.runs if plan.state(run) != "done"]
    runs = [run for run in todo if run.digest not in queue]
    said = [
        f"{plan.name}: {count(len(plan.runs), 'run')}, {len(plan.runs) - len(todo)} done, "
        f"{len(todo) - len(runs)} in the queue already, {len(runs)} submitted"
    ]
    jobs: dict[str, Element] = {}
    if runs:
        elements = _elements(runs, cluster.seeds_per_job)
        jobs |= _sbatch(plan, plan.name, cluster, elements, words)
    ensembles = [e for e in plan.ensembles if e.digest not in queue and _is_missing(plan, e)]
    if ensembles:
        first = [*jobs, *(queue[run.digest].id for run in todo if run.digest in queue)]
        element = Element(
            ("mode=evaluate", select("row", [each.row for each in ensembles])),
            tuple(ensembles),
        )
        jobs |= _sbatch(plan, f"{plan.name}-ensembles", cluster, [element], words, first)
    for job, element in jobs.items():
        said.append(f"  job {job}: {', '.join(each.id for each in element.work)}")
    if jobs:
        said.append(
            f"Output: {folder(plan.results)}/JOB.log. `resnet-repro status experiment={plan.name}` "
            f"says how far they are, `scancel JOB` ends one."
        )
    return "\n".join(said)


def _is_missing(plan: Plan, ensemble: Ensemble) -> bool:
    return ensemble.evaluation.key not in Record(plan.run_folder(ensemble)).evaluations()


def _elements(runs: Sequence[Run], seeds_per_job: int) -> list[Element]:
    """Share runs out to jobs; rows that share a network go together, one trains it for all."""
    rows: dict[str, list[Run]] = {}
    for run in runs:
        rows.setdefault(run.digest, []).append(run)
    groups: dict[tuple[str, ...], list[list[Run]]] = {}
    for same in rows.values():
        groups.setdefault(tuple(run.row for run in same), []).append(same)
    elements = []
    for names, each in groups.items():
        for first in range(0, len(each), seeds_per_job):
            part = each[first : first + seeds_per_job]
            seeds = ",".join(str(same[0].seed) for same in part)
            elements.append(
                Element(
                    (select("row", names), f"seeds=[{seeds}]"),
                    tuple(run for same in part for run in same),
                )
            )
    return elements


def _sbatch(
    plan: Plan,
    name: str,
    cluster: ClusterConfig,
    elements: Sequence[Element],
    words: Sequence[str],
    after: Sequence[str] = (),
) -> dict[str, Element]:
    """Write an array's script and submit it; return its jobs by their ids."""
    script = folder(plan.results) / f"{name}.sh"
    script.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(script, script_text(name, cluster, elements, words, script.parent, after))
    if not shutil.which("sbatch"):
        raise UserError(
            f"there is no sbatch here. The script is {script}, for a machine that has one"
        )
    asked = subprocess.run(["sbatch", "--parsable", script], capture_output=True, text=True)
    if asked.returncode:
        raise UserError(f"{asked.stderr.strip() or 'sbatch failed'}\nThe script is {script}")
    array = asked.stdout.strip().split(";")[0]
    jobs = {f"{array}_{number}": element for number, element in enumerate(elements)}
    note_jobs(plan.results, {each.digest: job for job, e in jobs.items() for each in e.work})
    return jobs


def script_text(
    name: str,
    cluster: ClusterConfig,
    elements: Sequence[Element],
    words: Sequence[str],
    logs: Path,
    after: Sequence[str] = (),
) -> str:
    """Return the script of an array.

    Args:
        name: Of the array, in SLURM's lists.
        cluster: What to ask of SLURM for each job.
        elements: The jobs.
        words: What the command line of all of them says.
        logs: The folder that takes what they print.
        after: Jobs that must have ended before.
    """
    at_once = f"%{cluster.at_once}" if cluster.at_once else ""
    options = {
        "job-name": name,
        "array": f"0-{len(elements) - 1}{at_once}",
        "nodes": cluster.nodes,
        "ntasks-per-node": cluster.tasks_per_node,
        "cpus-per-task": cluster.cpus // cluster.tasks_per_node,
        "gres": f"gpu:{cluster.gpus}" if cluster.gpus else None,
        "mem": cluster.memory,
        "time": cluster.time,
        "partition": cluster.partition,
        "account": cluster.account,
        **(cluster.options or {}),
        "dependency": f"afterany:{':'.join(after)}" if after else None,
        "requeue": "",
        "signal": f"B:USR1@{cluster.save_seconds}",
        "open-mode": "append",
        "output": f"{logs}/%A_%a.log",
    }
    lines = [f"--{key}" + (f"={shlex.quote(str(value))}" if value != "" else "")
             for key, value in options.items() if value is not None]  # fmt: skip
    cases = [f"  {number}) set -- {shlex.join(e.words)} ;;" for number, e in enumerate(elements)]
    return SCRIPT.format(
        options="\n".join(f"#SBATCH {line}" for line in lines),
        cases="\n".join(cases),
        cpus=options["cpus-per-task"],
        program=shlex.join([sys.executable, "-m", "resnet_repro", *words]),
        stopped=INTERRUPTED,
        terminated=128 + signal.SIGTERM,
    )
