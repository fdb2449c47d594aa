"""The pictures of an experiment: which there are, drawn and written."""

from collections.abc import Callable
from pathlib import Path

from matplotlib.figure import Figure

from resnet_repro.plan import Plan
from resnet_repro.report.archive import Result
from resnet_repro.report.curves import draw_curves, draw_responses
from resnet_repro.report.differences import draw_differences
from resnet_repro.report.sizes import draw_cost, draw_depth, draw_size
from resnet_repro.report.style import save
from resnet_repro.report.tables import Table

Draw = Callable[[Plan, Table, dict[str, list[Result]]], Figure | None]

# Of every experiment, where it has something to draw; the second ones where `paper.figure` asks.
PICTURES: dict[str, Draw] = {
    "curves": draw_curves,
    "differences": draw_differences,
    "depth": draw_depth,
    "cost": draw_cost,
}
FIGURES: dict[str, Draw] = {"size": draw_size, "responses": draw_responses}


def draw_all(
    plan: Plan, table: Table, results: dict[str, list[Result]]
) -> list[tuple[str, Figure]]:
    """Draw every picture that has something of ours to show; return them with their names."""
    asked = {name: draw for name, draw in FIGURES.items() if name == plan.paper.figure}
    drawn = [(name, draw(plan, table, results)) for name, draw in {**PICTURES, **asked}.items()]
    return [(name, figure) for name, figure in drawn if figure]


def write_pictures(plan: Plan, table: Table, results: dict[str, list[Result]]) -> list[Path]:
    """Write every picture as SVG and as PNG; return the files."""
    drawn = draw_all(plan, table, results)
    return [path for name, figure in drawn for path in save(figure, plan.folder, name)]
