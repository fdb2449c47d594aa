"""The table of a plan's cost, before any of its networks is trained."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from resnet_repro.cost.budget import Budget, budget_text, choose_runs
from resnet_repro.cost.estimates import Estimates, num_gpus
from resnet_repro.cost.forward_work import proposal_bytes
from resnet_repro.cost.sizes import about_detectors, measure, training_bytes
from resnet_repro.distributed.group import Group
from resnet_repro.engine.device import choose_device, num_processes
from resnet_repro.engine.groups import accumulates, at_once
from resnet_repro.plan import Ensemble, Plan, Run
from resnet_repro.report.status import run_status
from resnet_repro.report.status_text import with_rows
from resnet_repro.text import count, duration, markdown

TRAINED = ("done", "diverged", "trained")  # states of runs that need no more training


@dataclass(frozen=True)
class RunCost:
    """The remaining cost of a run.

    Attributes:
        id: The run's id.
        row: Name of the run's row.
        seed: The run's seed.
        state: The run's state, as in `report.status.RunStatus`.
        iteration: Number of finished iterations; None where a file is damaged.
        iterations: Total number of iterations.
        layers: Number of the network's layers.
        params: Number of the network's parameters.
        multiply_adds: Multiply-adds for one image.
        memory_bytes: Memory needed to train it, at its precision.
        accumulates: Whether its batch-norm groups are computed one after the other.
        disk_bytes: Size of its checkpoints and proposals; 0 if it is trained.
        seconds: Estimated time that the run still takes here.
        images_per_second: Training speed on which `seconds` is based.
        timing: `measured` here, or `scaled` from another network by multiply-adds.
        gpus: Number of GPUs; 0 on a CPU.
        gpu_hours: Estimated GPU-hours that the run still takes.
        same_as: Id of a run above that trains the same network; this one is tested only.
    """

    id: str
    row: str
    seed: int
    state: str
    iteration: int | None
    iterations: int
    layers: int
    params: int
    multiply_adds: int
    memory_bytes: int
    accumulates: bool
    disk_bytes: int
    seconds: float
    images_per_second: float
    timing: str
    gpus: int
    gpu_hours: float
    same_as: str | None


@dataclass(frozen=True)
class Totals:
    """Totals of a plan's runs, and of its ensembles' tests; `to_do`: how many are to be trained."""

    runs: int
    to_do: int
    seconds: float
    gpu_hours: float
    disk_bytes: int


@dataclass(frozen=True)
class Cost:
    """The cost of a plan.

    Attributes:
        experiment: The experiment's name.
        results: The output root.
        runs: Cost of each run; with a budget, of each chosen run.
        totals: Totals of these runs, trained one after the other.
        notes: Remarks on how the times were estimated.
        budget: The budget's chosen and left-out runs; None without a budget.
    """

    experiment: str
    results: str
    runs: tuple[RunCost, ...]
    totals: Totals
    notes: tuple[str, ...]
    budget: Budget | None


def plan_cost(plan: Plan, budget: float | None = None) -> Cost:
    """Return progress, size and remaining time of every run of the plan, and the totals.

    Args:
        plan: The experiment.
        budget: Seconds to spend, on the runs that settle the most claims; None for all runs.
    """
    estimates, spent = Estimates(plan), None
    if budget is not None:
        plan, spent = choose_runs(plan, budget, estimates)
    first: dict[str, str] = {}  # rows that differ only in the test share their runs
    tests: set[tuple[str, str]] = set()
    costs = []
    for run in plan.runs:
        cost = _cost(plan, run, estimates)
        same = first.setdefault(run.digest, run.id)
        if same != run.id:
            seconds = 0.0 if run.test in tests else estimates.seconds_of_test(run)
            hours = seconds * cost.gpus / 3600
            cost = replace(cost, same_as=same, seconds=seconds, gpu_hours=hours, disk_bytes=0)
        tests.add(run.test)
        costs.append(cost)
    together = {each.row: estimates.seconds_of_ensemble(each) for each in _distinct(plan.ensembles)}
    on_gpus = max((cost.gpus for cost in costs), default=0)
    totals = Totals(
        runs=len(costs),
        to_do=sum(not each.same_as and each.state not in TRAINED for each in costs),
        seconds=sum(each.seconds for each in costs) + sum(together.values()),
        gpu_hours=sum(each.gpu_hours for each in costs) + on_gpus * sum(together.values()) / 3600,
        disk_bytes=sum(each.disk_bytes for each in costs),
    )
    texts = (
        *(_about_speeds(plan, estimates), _about_groups(costs), estimates.accuracy),
        *(
            f"This includes about {duration(each)} for testing {row}."
            for row, each in together.items()
            if each
        ),
        about_detectors(run.config for run in plan.runs),
    )
    notes = tuple(text for text in texts if text)
    return Cost(plan.name, str(plan.results), tuple(costs), totals, notes, spent)


def _distinct(ensembles: Iterable[Ensemble]) -> list[Ensemble]:
    """Return ensembles, of those of the same members and test the first."""
    first: dict[tuple[str, str], Ensemble] = {}
    for each in ensembles:
        first.setdefault((each.digest, each.evaluation.key), each)
    return list(first.values())


def _cost(plan: Plan, run: Run, estimates: Estimates) -> RunCost:
    size, status, gpus = measure(run.config), run_status(plan, run), num_gpus(run.config)
    number = num_processes(run.config)
    group = Group(size=number, local_size=number)
    one_by_one = accumulates(run.config, choose_device(run.config.compute), group)
    seconds, speed = estimates.seconds_left(run), estimates.speed(run)
    return RunCost(
        id=run.id,
        row=run.row,
        seed=run.seed,
        state=status.state,
        iteration=status.iteration,
        iterations=status.iterations,
        layers=size.layers,
        params=size.params,
        multiply_adds=size.multiply_adds,
        memory_bytes=training_bytes(
            # Detectors compute one photograph at a time.
            run.config
            if one_by_one or (run.config.detector.is_used and not run.config.detector.localises)
            else at_once(run.config, group)
        ),
        accumulates=one_by_one,
        # Two checkpoints in fp32, with momentum.
        disk_bytes=0 if status.state in TRAINED else 16 * size.params + proposal_bytes(run.config),
        seconds=seconds,
        images_per_second=speed.images_per_second,
        timing="scaled" if speed.is_scaled else "measured",
        gpus=gpus,
        gpu_hours=seconds * gpus / 3600,
        same_as=None,
    )


def cost_text(cost: Cost) -> str:
    """Return a table of the runs, and below it the totals and remarks."""
    totals, on_gpu = cost.totals, any(run.gpus for run in cost.runs)
    lines = [_line(run) if on_gpu else _line(run)[:-1] for run in cost.runs]
    header = ["run", "state", "layers", "params", "multiply-adds", "memory", "iterations", "disk",
              "time", "GPU-hours"][: 10 if on_gpu else 9]  # fmt: skip
    header, lines = with_rows(header, lines, [run.row for run in cost.runs])
    texts = [
        f"{count(totals.runs, 'run')}, {totals.to_do} to do: about {duration(totals.seconds)} of "
        f"training and tests on this machine, one run after the other"
        + (f" ({totals.gpu_hours:,.1f} GPU-hours)" if on_gpu else "")
        + f", and {totals.disk_bytes / 1e6:.0f} MB in {cost.results}/runs.",
        *cost.notes,
        f"Timings are cached in {cost.results}/calibration.json; delete it to re-measure.",
    ]
    parts = [markdown(header, lines), "\n".join(texts)]
    return "\n\n".join([*parts, budget_text(cost.budget)] if cost.budget else parts)


def _line(run: RunCost) -> list[str]:
    mark = "~" if run.timing == "scaled" else ""
    return [
        run.id,
        f"as {run.same_as}" if run.same_as else _state(run),
        str(run.layers),
        f"{run.params / 1e6:.2f}M",
        f"{_short(run.multiply_adds / 1e6)}M",
        f"{run.memory_bytes / 2**20:,.0f} MiB",
        str(run.iterations),
        f"{_short(run.disk_bytes / 1e6)} MB" if run.disk_bytes else "",
        mark + duration(run.seconds) if run.seconds else "",
        f"{mark}{run.gpu_hours:,.2f}" if run.seconds else "",
    ]


def _short(number: float) -> str:
    return f"{number:,.1f}" if number < 10 else f"{number:,.0f}"


def _state(run: RunCost) -> str:
    if run.state in TRAINED:
        return "to test" if run.state == "trained" else "done"
    if run.state == "damaged":
        return "damaged"
    return f"from {run.iteration}" if run.iteration else "todo"


def _about_groups(costs: list[RunCost]) -> str:
    """Name the rows whose batch-norm groups are not computed at once."""
    rows = list(dict.fromkeys(cost.row for cost in costs if cost.accumulates))
    if not rows:
        return ""
    return f"Batch-norm groups one after the other (compute.accumulate): {', '.join(rows)}."


def _about_speeds(plan: Plan, estimates: Estimates) -> str:
    """Return remarks on times that are not plain measurements."""
    texts = []
    if any(estimates.speed(run).is_scaled for run in plan.runs):
        texts.append("~: scaled by multiply-adds from the nearest network that was timed.")
    names = {row.name: row.network for row in plan.rows}
    busy = {names.get(r.row, r.row): None for r in plan.runs if estimates.speed(r).was_busy}
    if busy:
        texts.append(
            f"Other programs used the CPU during these timings: {', '.join(busy)}. The real time "
            f"may be shorter; the next plan times them again."
        )
    if any(run.config.data.is_streamed for run in plan.runs):
        texts.append("Image loading is not included.")
    return " ".join(texts)
