"""The batch script of an array of SLURM jobs, readable, and usable with `sbatch` by hand."""

import shlex
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from resnet_repro.errors import INTERRUPTED
from resnet_repro.plan import Ensemble, Run
from resnet_repro.settings.cluster import ClusterConfig
from resnet_repro.visible import one_line

SCRIPT = """\
#!/bin/bash
{options}
# Made by `resnet-repro submit`.
{export}

case $SLURM_ARRAY_TASK_ID in
{cases}
esac

# Shortly before the time limit, the program saves a checkpoint and SLURM requeues this job.
# (SLURM_JOB_ID of one of the jobs is the id of the whole array; and srun kills when it is ended.)
job=${{SLURM_ARRAY_JOB_ID}}_$SLURM_ARRAY_TASK_ID
trap 'late=yes; scancel --signal=INT $job' USR1

srun --kill-on-bad-exit=1 --cpus-per-task={cpus} \\
  {program} "$@" &
step=$!
wait $step; code=$?
if [ "$late" ]; then
  for second in $(seq {patience}); do kill -0 $step 2> /dev/null || break; sleep 1; done
  if ! kill -0 $step 2> /dev/null && wait $step; then exit 0; fi
  until scontrol requeue $job; do sleep 5; done
  exit
fi

# Stopped by SLURM, because the job was preempted or cancelled: only SLURM knows whether to requeue
# it, and does not requeue a job that exits by itself, so wait. (If there are several processes, the
# first to stop makes srun end the others: {terminated}.)
if [ $code = {stopped} ] || [ $code = {terminated} ]; then sleep 3600; fi
exit $code
"""


# Set for jobs of which each knows some of the runs; a job after them writes the table of all.
LEAVES_TABLE = "RESNET_REPRO_LEAVES_TABLE"


@dataclass(frozen=True)
class Element:
    """One job of an array.

    Attributes:
        words: The job's own command-line arguments, in addition to those of all jobs.
        work: The runs or ensembles that the job executes.
    """

    words: tuple[str, ...]
    work: tuple[Run | Ensemble, ...]


def script_text(
    name: str,
    cluster: ClusterConfig,
    elements: Sequence[Element],
    words: Sequence[str],
    logs: Path,
    after: Sequence[str] = (),
    at_once: int | None = None,
) -> str:
    """Return the batch script of an array.

    Args:
        name: The array's name in SLURM's lists.
        cluster: Resources per job.
        elements: The jobs.
        words: Command-line arguments of all jobs.
        logs: The folder of the job logs.
        after: Ids of jobs or arrays that must end first.
        at_once: Most jobs of the array that run at the same time; None for no limit.
    """
    most = f"%{at_once}" if at_once else ""
    options = {
        "job-name": name,
        "array": f"0-{len(elements) - 1}{most}",
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
        "requeue": True,
        "signal": f"B:USR1@{cluster.save_seconds}",
        "open-mode": "append",
        "output": f"{logs}/%A_%a.log",
    }
    lines = [
        f"#SBATCH --{key}" + ("" if value is True else f"={shlex.quote(one_line(str(value)))}")
        for key, value in options.items()
        if value is not None and value is not False
    ]
    cases = [f"  {number}) set -- {shlex.join(e.words)} ;;" for number, e in enumerate(elements)]
    return SCRIPT.format(
        options="\n".join(lines),
        export=f"export {LEAVES_TABLE}=1" if any(each.work for each in elements) else "",
        cases="\n".join(cases),
        cpus=options["cpus-per-task"],
        program=shlex.join([sys.executable, "-m", "resnet_repro", *words]),
        patience=cluster.save_seconds - 20,
        stopped=INTERRUPTED,
        terminated=128 + signal.SIGTERM,
    )
