"""The points of the pictures by network size, and their division into lines."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from resnet_repro.judge import statistics
from resnet_repro.judge.measures import first_measure
from resnet_repro.judge.outcomes import sort_all, spreads
from resnet_repro.judge.verdicts import spread_of, why_not_comparable
from resnet_repro.plan import Plan, Row
from resnet_repro.records.archive import Result
from resnet_repro.report.remarks import protocol_text
from resnet_repro.settings.experiment import PaperValues
from resnet_repro.settings.external_model import ExternalModelConfig, Model
from resnet_repro.settings.run import RunConfig

CLOSE = 1.05  # two sizes with a smaller ratio count as the same size

ACTIVATIONS = {
    "bn_after": "BN after addition",
    "relu_before": "ReLU before addition",
    "relu_pre": "ReLU-only pre-activation",
    "full_pre": "pre-activation",
}
SHORTCUTS = {
    "none": "plain",
    "constant": "constant scaling",
    "exclusive_gate": "exclusive gating",
    "shortcut_gate": "shortcut-only gating",
    "dropout": "dropout shortcut",
}


@dataclass(frozen=True)
class Point:
    """A row as a point of a picture.

    Attributes:
        row: The row.
        config: The row's settings.
        ours: Mean value of the table's first measure in our runs, %; None without runs.
        bar: Half the width of the 95 % interval of that mean; None where the spread is unknown.
        paper: The paper's mean, or else its printed value, %; None where it cannot be compared.
    """

    row: Row
    config: RunConfig
    ours: float | None
    bar: float | None
    paper: float | None


def make_points(plan: Plan, results: dict[str, list[Result]]) -> list[Point]:
    """Return a point for each row that can be run, in the table's order."""
    outcomes = sort_all(plan, results)
    measure = first_measure(plan)
    known = spreads(outcomes.values(), measure)
    points = []
    for row in plan.rows:
        if row.config is None:
            continue
        runs = outcomes[row.name].by_run(measure)
        values = [*runs.values()]
        paper = PaperValues() if why_not_comparable(row) else measure.printed(row.paper)
        spread, _ = spread_of(runs, paper, known[outcomes[row.name].data])
        reference = statistics.reference(paper, lower_is_better=measure.lower_is_better)
        points.append(
            Point(
                row=row,
                config=row.config,
                ours=sum(values) / len(values) if values else None,
                bar=statistics.half_width_of_mean(len(values), spread)
                if values and spread
                else None,
                paper=reference.value if reference else None,
            )
        )
    return points


def sort_series(points: Sequence[Point], size: Callable[[Point], float]) -> dict[str, list[Point]]:
    """Return lines of points, each sorted by size, under the lines' names.

    Each kind of network is a line. If two of its points have the same size, the line is divided by
    the first of `DISTINCTIONS` in which they differ.
    """
    series: dict[str, list[Point]] = {}
    for point in points:
        series.setdefault(_kind(point.config.model), []).append(point)
    for distinguish in DISTINCTIONS:
        divided: dict[str, list[Point]] = {}
        for name, each in series.items():
            divides = any(distinguish(a) != distinguish(b) for a, b in _neighbours(each, size))
            for point in each:
                label = f"{name}, {distinguish(point)}" if divides else name
                divided.setdefault(label, []).append(point)
        series = divided
    return {name: sorted(each, key=size) for name, each in series.items()}


def _neighbours(
    points: Sequence[Point], size: Callable[[Point], float]
) -> list[tuple[Point, Point]]:
    """Return the pairs of points of the same images that follow each other in size, and are close.

    If two close points differ in something, so do two neighbours between them, which are closer.
    """
    in_order = sorted(points, key=lambda point: (point.config.data.title, size(point)))
    return [
        (a, b)
        for a, b in pairwise(in_order)
        if a.config.data.title == b.config.data.title and size(b) < CLOSE * size(a)
    ]


def _kind(model: Model) -> str:
    if isinstance(model, ExternalModelConfig):
        return model.name
    grouped = model.cardinality is not None and not model.cardinality.startswith("1x")
    family = "ResNeXt" if grouped else "residual"
    words = ACTIVATIONS.get(model.activation) or SHORTCUTS.get(model.shortcut)
    if words is None:
        return family
    return f"{words} ResNeXt" if grouped else words


def _block(point: Point) -> str:
    model = point.config.model
    if isinstance(model, ExternalModelConfig):
        return ""
    if model.block == "single":
        return "1-layer blocks"
    return "bottlenecks" if model.has_bottlenecks else "basic blocks"


def _option(point: Point) -> str:
    model = point.config.model
    return "" if isinstance(model, ExternalModelConfig) else f"shortcut {model.shortcut}"


def _cardinality(point: Point) -> str:
    model = point.config.model
    return "" if isinstance(model, ExternalModelConfig) else model.cardinality or "1 group"


def _protocol(point: Point) -> str:
    return protocol_text(point.row.protocol)


def _augmentation(point: Point) -> str:
    return "aspect ratio augmentation" if point.config.recipe.photo.area else "scale augmentation"


def _batch(point: Point) -> str:
    return f"mini-batches of {point.config.recipe.batch_size}"


DISTINCTIONS = (_block, _option, _cardinality, _protocol, _augmentation, _batch)
