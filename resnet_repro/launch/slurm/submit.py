"""Submits runs as SLURM jobs, which save at their time limit and are requeued."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence

from resnet_repro.errors import UserError
from resnet_repro.files import write_atomically
from resnet_repro.launch.slurm.queue import find_jobs, folder, note_jobs
from resnet_repro.launch.slurm.script import Element, script_text
from resnet_repro.plan import Ensemble, Plan, Run, in_stages
from resnet_repro.records import Record
from resnet_repro.records.runs import run_folder, run_state
from resnet_repro.settings.cluster import ClusterConfig
from resnet_repro.settings.words import select
from resnet_repro.text import count


def submit(plan: Plan, cluster: ClusterConfig, words: Sequence[str]) -> Iterator[str]:
    """Submit a plan's missing runs, without waiting for them.

    Args:
        plan: The experiment; runs that are already queued or running are skipped.
        cluster: Resources per job.
        words: The command line's arguments except verb, rows, seeds and cluster.

    Yields:
        Lines that describe what was submitted.

    Raises:
        UserError: SLURM is not available, or rejects the jobs.
    """
    queue = find_jobs(plan.results)
    todo = [run for run in plan.runs if not run_state(run, plan.results).is_done]
    runs = [run for run in todo if run.digest not in queue and not _is_running(plan, run)]
    yield (
        f"{plan.name}: {count(len(plan.runs), 'run')}, {len(plan.runs) - len(todo)} done, "
        f"{len(todo) - len(runs)} running or in the queue, {len(runs)} to submit"
    )
    if len(runs) < len(todo):
        yield "Submit again when they have finished to queue whatever is left."
    arrays = {
        plan.name + (f"-{number}" if number > 1 else ""): _elements(stage, cluster.seeds_per_job)
        for number, stage in enumerate(in_stages(runs), start=1)
    }
    ensembles = [e for e in plan.ensembles if e.digest not in queue and _is_missing(plan, e)]
    if ensembles:
        names = select("row", [each.row for each in ensembles])
        arrays[f"{plan.name}-ensembles"] = [Element(("mode=evaluate", names), tuple(ensembles))]
    jobs = {digest: job.id for digest, job in queue.items()}
    for name, elements in arrays.items():
        needed = {run.digest for each in elements for work in each.work for run in work.needs}
        after = sorted({jobs[digest] for digest in needed & jobs.keys()})
        submitted = _sbatch(plan, name, cluster, elements, words, after)
        for job, element in zip(submitted, elements, strict=True):
            jobs |= {each.digest: job for each in element.work}
            yield f"  job {job}: {', '.join(each.id for each in element.work)}"
    if arrays:
        yield (
            f"Logs: {folder(plan.results)}/JOB.log. `resnet-repro status experiment={plan.name}` "
            f"shows progress, `scancel JOB` cancels a job."
        )


def _is_running(plan: Plan, run: Run) -> bool:
    return Record(run_folder(run, plan.results)).is_running()


def _is_missing(plan: Plan, ensemble: Ensemble) -> bool:
    return ensemble.evaluation.key not in Record(run_folder(ensemble, plan.results)).evaluations()


def _elements(runs: Sequence[Run], seeds_per_job: int) -> list[Element]:
    """Assign runs to jobs; rows that share a network are one job, which trains it once."""
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
) -> list[str]:
    """Write and submit an array's script; return the ids of its jobs."""
    script = folder(plan.results) / f"{name}.sh"
    script.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(script, script_text(name, cluster, elements, words, script.parent, after))
    if not shutil.which("sbatch"):
        raise UserError(f"sbatch is not available here. Submit {script} on a machine that has it")
    # If this runs inside a job, its SLURM_ variables must not reach the new jobs.
    environ = {k: v for k, v in os.environ.items() if k == "SLURM_CONF" or k[:6] != "SLURM_"}
    asked = subprocess.run(
        ["sbatch", "--parsable", script], capture_output=True, text=True, env=environ
    )
    if asked.returncode:
        raise UserError(f"{asked.stderr.strip() or 'sbatch failed'}\nThe batch script is {script}")
    array = asked.stdout.strip().split(";")[0]
    jobs = [f"{array}_{number}" for number in range(len(elements))]
    pairs = zip(jobs, elements, strict=True)
    note_jobs(plan.results, {each.digest: job for job, e in pairs for each in e.work})
    return jobs
