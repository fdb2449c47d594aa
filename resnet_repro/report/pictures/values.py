"""The values of a swept setting as places on an axis, a colour bar or a map."""

from collections.abc import Sequence
from itertools import pairwise
from math import log
from textwrap import fill

from matplotlib.axis import Axis
from matplotlib.colors import LogNorm, Normalize

from resnet_repro.plan import Plan, Row
from resnet_repro.settings.sweep import value_text
from resnet_repro.visible import visible

LOGARITHMIC = 4  # ratio of the largest to the smallest value from which an axis may be logarithmic
LONGEST = 34  # characters of a name in a line of a legend


def case_title(plan: Plan) -> str:
    """Return what `case_labels` leaves out: `network: recipe.lr`; nothing outside of sweeps."""
    return f"network: {', '.join(plan.sweep.keys)}" if plan.sweep else ""


def case_labels(plan: Plan) -> dict[str, str]:
    """Return the names in a legend of a sweep's rows: `ResNet-20: 0.05, B`, without the settings.

    Outside of sweeps there are none, and a row has its own name.
    """
    return {row.name: _label(row) for row in plan.rows if row.point}


def _label(row: Row) -> str:
    values = ", ".join(value_text(value) for _, value in row.point)
    return fill(visible(f"{row.of}: {values}"), LONGEST)


def places(values: Sequence[object]) -> tuple[dict[str, float], bool]:
    """Return where each value is on an axis, by its text, and whether it is a number there.

    Values that are not all numbers are at 0, 1, 2 and so on.
    """
    texts = {value_text(each): each for each in values}
    numbers = {
        text: float(each)
        for text, each in texts.items()
        if isinstance(each, int | float) and not isinstance(each, bool)
    }
    if len(numbers) == len(texts):
        return numbers, True
    return {text: float(place) for place, text in enumerate(texts)}, False


def texts_in_order(values: Sequence[object]) -> list[str]:
    """Return the texts of values, each once: of numbers from the lowest, of others as they come."""
    found, _ = places(values)
    return sorted(found, key=lambda text: found[text])


def is_logarithmic(values: Sequence[float]) -> bool:
    """Return whether values are spread more evenly by ratio than by difference."""
    numbers = sorted(set(values))
    if len(numbers) < 2 or numbers[0] <= 0 or numbers[-1] < LOGARITHMIC * numbers[0]:
        return False
    steps = [b - a for a, b in pairwise(numbers)]
    ratios = [log(b / a) for a, b in pairwise(numbers)]
    return len(numbers) == 2 or max(ratios) / min(ratios) < max(steps) / min(steps)


def colour_scale(values: Sequence[float]) -> Normalize:
    """Return the scale that spreads values over a colour map."""
    scale = LogNorm if is_logarithmic(values) else Normalize
    return scale(min(values), max(values))


def name_places(axis: Axis, texts: Sequence[str], most: int, size: float) -> None:
    """Name the places 0, 1, 2 and so on of an axis; of too many, every n-th.

    Args:
        axis: The axis.
        texts: The names.
        most: How many names there may be.
        size: Font size in points.
    """
    step = -(-len(texts) // most)
    axis.set_ticks(range(0, len(texts), step), texts[::step], fontsize=size, parse_math=False)
