"""Submits runs as SLURM jobs, which save at their time limit and are requeued."""

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import replace

from resnet_repro.errors import UserError
from resnet_repro.files import exclusive_lock, write_atomically
from resnet_repro.launch.slurm.queue import SHOWN, find_jobs, folder, note_jobs, ranges
from resnet_repro.launch.slurm.script import Element, script_text
from resnet_repro.plan import Ensemble, Plan, Run, in_stages, with_needs
from resnet_repro.records import Record
from resnet_repro.records.runs import run_folder, run_state
from resnet_repro.settings.cluster import ClusterConfig
from resnet_repro.settings.words import select, without
from resnet_repro.text import count

MAX_ARRAY_SIZE = 1001  # SLURM's default


def submit(plan: Plan, cluster: ClusterConfig, words: Sequence[str]) -> Iterator[str]:
    """Submit a plan's missing runs, without waiting for them.

    The last job writes the table: each of the others knows some of the runs only.

    Args:
        plan: The experiment; runs that are already queued or running are skipped.
        cluster: Resources per job.
        words: The command line's arguments except verb and cluster.

    Yields:
        Lines that describe what was submitted.

    Raises:
        UserError: SLURM is not available, or rejects the jobs.
    """
    if not shutil.which("sbatch"):
        raise UserError("there is no sbatch here: use a machine of the cluster")
    home = folder(plan.results)
    home.mkdir(parents=True, exist_ok=True)
    with exclusive_lock(home / "submit.lock"):  # two at once would queue the same runs
        yield from _submit(plan, cluster, words)


def _submit(plan: Plan, cluster: ClusterConfig, words: Sequence[str]) -> Iterator[str]:
    queue = find_jobs(plan.results)
    todo = [run for run in plan.runs if not run_state(run, plan.results).is_done]
    runs = [run for run in todo if run.digest not in queue and not _is_running(plan, run)]
    yield (
        f"{plan.name}: {count(len(plan.runs), 'run')}, {len(plan.runs) - len(todo)} done, "
        f"{len(todo) - len(runs)} running or in the queue, {len(runs)} to submit"
    )
    if len(runs) < len(todo):
        yield "Submit again when they have finished to queue whatever is left."
    _check_share(cluster, runs)
    shared_words = without(words, ("row", "seeds"))
    stages = [("", elements) for elements in _stages(plan, runs, cluster.seeds_per_job)]
    ensembles = [e for e in plan.ensembles if e.digest not in queue and _is_missing(plan, e)]
    if ensembles:
        names = select("row", [each.row for each in ensembles])
        stages.append(("-ensembles", [Element(("mode=evaluate", names), tuple(ensembles))]))
    jobs = {digest: job.id for digest, job in queue.items()}
    most, number, before = _most_elements() if stages else 1, 0, set[str]()
    arrays: list[str] = []
    for ending, elements in stages:
        shared = _share(elements, most, cluster.at_once)
        lanes: dict[int, str] = {}  # the last array of each
        for lane, at_once, part in shared:
            number += 1
            needed = {run.digest for each in part for work in each.work for run in work.needs}
            after = {jobs[digest] for digest in needed & jobs.keys()}
            if cluster.at_once:  # it holds for all arrays: one that waits for another has its share
                after |= {lanes[lane]} if lane in lanes else before
            name = _name(plan) + (ending or (f"-{number}" if number > 1 else ""))
            submitted = _sbatch(plan, name, cluster, part, shared_words, sorted(after), at_once)
            lanes[lane] = submitted[0].partition("_")[0]
            arrays.append(lanes[lane])
            for job, element in zip(submitted, part, strict=True):
                jobs |= {each.digest: job for each in element.work}
            yield from _about(submitted, part)
        before = set(lanes.values())
    if stages:
        last = [Element(("mode=table",), ())]
        name = f"{_name(plan)}-table"
        (job,) = _sbatch(plan, name, cluster.for_table(), last, words, arrays, None)
        yield f"  job {job}: the table, when all have ended"
        yield (
            f"Logs: {folder(plan.results)}/JOB.log. Progress: "
            f"`{shlex.join(['resnet-repro', 'status', *words])}`; with `cancel` in place of "
            f"`status`, it cancels them."
        )


def _check_share(cluster: ClusterConfig, runs: Sequence[Run]) -> None:
    """Raise a UserError if the processes of a job on several machines cannot share a mini-batch."""
    if cluster.nodes == 1:
        return
    from resnet_repro.engine.device import most_processes  # imports torch

    number = cluster.nodes * cluster.tasks_per_node
    for run in with_needs(runs):
        most = most_processes(run.config, number)
        if most < number:
            raise UserError(
                f"cluster.nodes={cluster.nodes} cluster.gpus={cluster.gpus}: {number} processes "
                f"cannot share the mini-batches of {run.row} evenly, {most} can; change the number "
                f"of machines or of their GPUs"
            )


def _name(plan: Plan) -> str:
    """Return the name of an array and of its script: of a sweep, it holds what is swept."""
    return f"{plan.name}-{plan.folder.name}" if plan.sweep else plan.name


def _about(jobs: Sequence[str], elements: Sequence[Element]) -> Iterator[str]:
    if len(jobs) > SHOWN:
        first, last = elements[0].work[0].id, elements[-1].work[-1].id
        yield f"  jobs {', '.join(ranges(jobs))}: {first} to {last}"
        return
    for job, element in zip(jobs, elements, strict=True):
        yield f"  job {job}: {', '.join(map(_named, element.work))}"


def _named(work: Run | Ensemble) -> str:
    """Return an id, in a sweep with the row's name, as the id does not tell the values."""
    return f"{work.id} ({work.row})" if "=" in work.row else work.id


def _most_elements() -> int:
    """Return how many jobs an array can have here."""
    try:
        asked = subprocess.run(["scontrol", "show", "config"], capture_output=True, text=True)
    except OSError:
        return MAX_ARRAY_SIZE
    match = re.search(r"^MaxArraySize\s*=\s*(\d+)", asked.stdout, re.MULTILINE)
    # The largest index, counted from 0, is one less than it.
    return max(1, int(match[1])) if match else MAX_ARRAY_SIZE


def _share(
    elements: Sequence[Element], most: int, at_once: int | None
) -> Iterator[tuple[int, int | None, Sequence[Element]]]:
    """Divide jobs into arrays; yield the lane, the jobs at once and the jobs of each.

    SLURM limits the jobs of an array that run at once, not those of several. So the arrays get a
    share of `at_once` each, and where there are more arrays than that, some follow one another, in
    as many lanes.
    """
    number = -(-len(elements) // most)
    size, larger = divmod(len(elements), number)
    lanes = min(number, at_once or number)
    begin = 0
    for array in range(number):
        end = begin + size + (array < larger)
        lane = array % lanes
        share = at_once and at_once // lanes + (lane < at_once % lanes)
        yield lane, share, elements[begin:end]
        begin = end


def _is_running(plan: Plan, run: Run) -> bool:
    return Record(run_folder(run, plan.results)).is_running()


def _is_missing(plan: Plan, ensemble: Ensemble) -> bool:
    return ensemble.evaluation.key not in Record(run_folder(ensemble, plan.results)).evaluations()


def _stages(plan: Plan, runs: Sequence[Run], seeds_per_job: int) -> Iterator[list[Element]]:
    """Assign runs to jobs, in stages of which none has a job that needs another of the stage.

    The earlier steps of a row cannot be selected by themselves, so its job trains them too. Of the
    rows that share a step, the first trains it, and the others follow.
    """
    names = {row.name for row in plan.rows}
    steps = {run.digest for run in runs if run.row not in names}
    for stage in in_stages([run for run in runs if run.row in names]):
        waiting = _elements(stage, seeds_per_job)
        while waiting:
            ready, later, taken = [], [], set[str]()
            for element in waiting:
                runs_of = [each for each in element.work if isinstance(each, Run)]
                needed = [each for each in with_needs(runs_of) if each.row not in names]
                if taken & {each.digest for each in needed}:
                    later.append(element)
                    continue
                own = [each for each in needed if each.digest in steps]
                ready.append(replace(element, work=(*own, *element.work)))
                taken |= {each.digest for each in own}
            steps -= taken
            yield ready
            waiting = later


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
    after: Sequence[str],
    at_once: int | None,
) -> list[str]:
    """Write and submit an array's script; return the ids of its jobs."""
    script = folder(plan.results) / f"{name}.sh"
    text = script_text(name, cluster, elements, words, script.parent, after, at_once)
    write_atomically(script, text)
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
