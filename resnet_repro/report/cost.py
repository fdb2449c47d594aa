"""What a plan costs, and whether its networks are the paper's, before any of them is trained."""

from dataclasses import dataclass
from decimal import Decimal

from resnet_repro.models.complexity import Complexity, measure, training_bytes
from resnet_repro.plan import Plan, Row, Run
from resnet_repro.records import Record
from resnet_repro.report.budget import choose_runs
from resnet_repro.report.estimates import Estimates, num_gpus, selected_rows
from resnet_repro.report.text import count, duration, markdown


def verify_text(plan: Plan) -> tuple[str, bool]:
    """Compare layers, parameters and multiply-adds of every selected row with the paper's.

    Where the paper prints none, with the row's `exact` counts, made from its description.

    Returns:
        The comparison as text, and whether all rows agree.
    """
    lines, all_agree = [], True
    for row in selected_rows(plan):
        assert row.config is not None
        size = measure(row.config)
        wrong = _differences(row, size)
        all_agree = all_agree and not wrong
        paper = row.paper
        printed = (paper.layers, paper.params, paper.multiply_adds)
        verdict = "as its description counts" if row.exact else "nothing printed"
        if any(value is not None for value in printed):
            verdict = "agrees"
        lines.append(
            [
                row.name,
                str(size.layers),
                str(paper.layers or ""),
                f"{size.params:,}",
                _printed(paper.params),
                f"{size.multiply_adds:,}",
                _printed(paper.multiply_adds),
                f"differs: {', '.join(wrong)}" if wrong else verdict,
            ]
        )
    header = ["row", "layers", "paper", "params", "paper", "multiply-adds", "paper", "verdict"]
    return f"{plan.name}\n\n{markdown(header, lines)}", all_agree


def _differences(row: Row, size: Complexity) -> list[str]:
    paper, exact = row.paper, row.exact
    agree = {
        "layers": paper.layers is None or size.layers == paper.layers,
        # [He16] and [Xie17] print counts without batch norm, [He15] with it.
        "params": paper.params is None
        or any(agrees(n, paper.params) for n in (size.params, size.params_without_bn)),
        "multiply-adds": paper.multiply_adds is None
        or agrees(size.multiply_adds, paper.multiply_adds),
        "exact params": exact is None or size.params == exact.params,
        "exact multiply-adds": exact is None or size.multiply_adds == exact.multiply_adds,
    }
    return [name for name, right in agree.items() if not right]


def agrees(count: int, printed: float) -> bool:
    """Return whether a count, rounded or cut off, gives what the paper prints in M or G.

    [He15] prints 3.8 G for 3.858 G, so a difference of less than one in the last printed digit
    agrees.
    """
    unit = 1e9 if printed >= 1e9 else 1e6
    digits = Decimal(repr(printed / unit)).normalize()
    step = Decimal(1).scaleb(min(int(digits.as_tuple().exponent), 0))
    return abs(Decimal(count) / Decimal(unit) - digits) < step


def _printed(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value / 1e9:g}G" if value >= 1e9 else f"{value / 1e6:g}M"


def plan_text(plan: Plan, budget: float | None = None) -> str:
    """Return every run of the plan: how far, how large, how long on this machine, and the totals.

    Memory is that of training in fp32.

    Args:
        plan: The experiment.
        budget: Seconds to spend; the runs are then those that settle the most claims within it.
    """
    estimates, chosen = Estimates(plan), ""
    if budget is not None:
        plan, chosen = choose_runs(plan, budget, estimates)
    on_gpu = any(num_gpus(run.config) for run in plan.runs)
    first: dict[str, str] = {}  # rows that differ in the test only share their runs
    memory: dict[str, int] = {}
    lines, total = [], _Total()
    for run in plan.runs:
        same = first.setdefault(run.digest, run.id)
        if run.row not in memory:
            memory[run.row] = training_bytes(run.config)
        line = _line(plan, run, memory[run.row], estimates, total if same == run.id else None)
        if same != run.id:
            line[1] = f"as {same}"
        lines.append(line if on_gpu else line[:-1])
    header = ["run", "state", "layers", "params", "multiply-adds", "memory", "iterations", "disk",
              "time", "GPU-hours"][: 10 if on_gpu else 9]  # fmt: skip
    texts = [
        f"{count(len(lines), 'run')}, {total.num_runs} to do: about {duration(total.seconds)} of "
        f"training on this machine, one run after the other"
        + (f" ({total.gpu_seconds / 3600:,.1f} GPU-hours)" if on_gpu else "")
        + f", and {total.disk / 1e6:.0f} MB in {plan.results}/runs.",
        _about_speeds(plan, estimates),
        estimates.accuracy,
        f"Networks are timed once: delete {plan.results}/calibration.json to have it done again.",
    ]
    parts = [markdown(header, lines), "\n".join(text for text in texts if text), chosen]
    return "\n\n".join(part for part in parts if part)


@dataclass
class _Total:
    """Of the runs that are not done: their number, time, and bytes of checkpoints."""

    num_runs: int = 0
    seconds: float = 0.0
    gpu_seconds: float = 0.0
    disk: int = 0


def _line(
    plan: Plan, run: Run, memory: int, estimates: Estimates, total: _Total | None
) -> list[str]:
    """Return a run's line, and add what it costs to the total; without one it costs nothing."""
    size, state = measure(run.config), plan.state(run)
    seconds, disk = 0.0, 0
    if total:
        seconds = estimates.seconds_left(run)
        disk = 0 if state in ("done", "trained") else 16 * size.params  # two, with momentum
        total.num_runs += state not in ("done", "trained")
        total.seconds += seconds
        total.gpu_seconds += seconds * num_gpus(run.config)
        total.disk += disk
    mark = "~" if estimates.speeds[run.row].is_scaled else ""
    return [
        run.id,
        _state(state, Record(plan.run_folder(run))),
        str(size.layers),
        f"{size.params / 1e6:.2f}M",
        f"{size.multiply_adds / 1e6:,.0f}M",
        f"{memory / 2**20:,.0f} MiB",
        str(run.config.recipe.iterations),
        f"{disk / 1e6:.0f} MB" if disk else "",
        mark + duration(seconds) if seconds else "",
        f"{mark}{seconds * num_gpus(run.config) / 3600:,.2f}" if seconds else "",
    ]


def _state(state: str, record: Record) -> str:
    if state in ("done", "trained"):
        return "done" if state == "done" else "to test"
    iteration = record.iteration() if state != "damaged" else 0
    return f"from {iteration}" if iteration else "damaged" if state == "damaged" else "todo"


def _about_speeds(plan: Plan, estimates: Estimates) -> str:
    """Return what the times rest on, where that is less than a measurement."""
    texts = []
    if any(estimates.speeds[run.row].is_scaled for run in plan.runs):
        texts.append("~: by multiply-adds from the nearest network that was timed.")
    busy = [row for row, speed in estimates.speeds.items() if speed.was_busy]
    if busy:
        texts.append(
            f"Other programs kept the CPU busy while this was timed: {', '.join(busy)}. The real "
            f"time may be shorter; the next plan times it again."
        )
    if any(run.config.data.is_streamed for run in plan.runs):
        texts.append("Reading photographs is not in it.")
    return " ".join(texts)
