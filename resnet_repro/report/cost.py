"""What a plan costs, and whether its networks are the paper's, before any of them is trained."""

import statistics
from decimal import Decimal

from resnet_repro.engine.speed import images_per_second
from resnet_repro.models.complexity import Complexity, measure, training_bytes
from resnet_repro.plan import Plan, Row
from resnet_repro.records import Record
from resnet_repro.report.text import count, duration, markdown


def verify_text(plan: Plan) -> tuple[str, bool]:
    """Compare layers, parameters and multiply-adds of every selected row with the paper's.

    Returns:
        The comparison as text, and whether all rows agree.
    """
    lines, all_agree = [], True
    for row in _selected(plan):
        assert row.config is not None
        size = measure(row.config)
        wrong = _differences(row, size)
        all_agree = all_agree and not wrong
        paper = row.paper
        known = paper.layers, paper.params, paper.multiply_adds, row.exact
        verdict = "agrees" if any(value is not None for value in known) else "nothing printed"
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


def plan_text(plan: Plan) -> str:
    """Return every run of the plan: how far, how large, how long on this machine, and the totals.

    Speeds are those that the row's own runs recorded; other rows are estimated, by multiply-adds,
    from one network that is timed for a few iterations. Memory is that of training in fp32.
    """
    rows = _selected(plan)
    sizes = {row.name: measure(row.config) for row in rows if row.config}
    memory = {row.name: training_bytes(row.config) for row in rows if row.config}
    speeds = _speeds(plan, rows, sizes)
    seen: dict[str, str] = {}  # rows that differ in the test only share their runs
    lines, seconds_left, disk_left, num_todo = [], 0.0, 0.0, 0
    for row in rows:
        assert row.config is not None
        size, recipe = sizes[row.name], row.config.recipe
        for seed in row.seeds:
            run = row.run(seed)
            record = Record(plan.run_folder(run))
            same = seen.setdefault(run.digest, run.id)
            finished = record.state() == "finished" or same != run.id
            events = record.events()
            done = events[-1]["iteration"] if events else 0
            images = 0 if finished else (recipe.iterations - done) * recipe.batch_size
            seconds = images / speeds[row.name]
            disk = 0 if finished else 16 * size.params  # weights and momentum, two checkpoints
            seconds_left, disk_left = seconds_left + seconds, disk_left + disk
            num_todo += not finished
            lines.append(
                [
                    run.id,
                    _state(plan.state(run), done) if same == run.id else f"as {same}",
                    str(size.layers),
                    f"{size.params / 1e6:.2f}M",
                    f"{size.multiply_adds / 1e6:,.0f}M",
                    f"{memory[row.name] / 2**20:,.0f} MiB",
                    str(recipe.iterations),
                    "" if finished else f"~{duration(seconds)}",
                    f"{disk / 1e6:.0f} MB" if disk else "",
                ]
            )
    header = [
        "run",
        "state",
        "layers",
        "params",
        "multiply-adds",
        "memory",
        "iterations",
        "time",
        "disk",
    ]
    total = (
        f"{count(len(lines), 'run')}, {num_todo} to do: about {duration(seconds_left)} of training "
        f"on this machine, one run after the other, and {disk_left / 1e6:.0f} MB in "
        f"{plan.results}/runs."
    )
    return f"{markdown(header, lines)}\n\n{total}"


def _state(state: str, done: int) -> str:
    if state in ("done", "trained"):
        return "done" if state == "done" else "to test"
    return f"from {done}" if done else "todo"


def _selected(plan: Plan) -> list[Row]:
    names = {*plan.selected, *(run.row for run in plan.runs)}
    return [row for row in plan.rows if row.name in names and row.config]


def _speeds(plan: Plan, rows: list[Row], sizes: dict[str, Complexity]) -> dict[str, float]:
    """Return training images per second of each row."""
    speeds = {}
    for row in rows:
        records = [Record(plan.run_folder(row.run(seed))) for seed in row.seeds]
        trains = [e for record in records for e in record.events() if e["event"] == "train"]
        if trains:
            speeds[row.name] = statistics.median(e["images_per_second"] for e in trains)
    others = [row for row in rows if row.name not in speeds]
    if others:
        smallest = min(others, key=lambda row: sizes[row.name].multiply_adds)
        assert smallest.config is not None
        rate = images_per_second(smallest.config) * sizes[smallest.name].multiply_adds
        speeds |= {row.name: rate / sizes[row.name].multiply_adds for row in others}
    return speeds
