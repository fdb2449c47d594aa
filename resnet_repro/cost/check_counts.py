"""Check of an experiment's networks against the paper, before any of them is trained."""

from dataclasses import dataclass, field, replace
from decimal import Decimal

from resnet_repro.cost.estimates import rows_to_estimate
from resnet_repro.cost.sizes import about_detectors, measure
from resnet_repro.models.complexity import Complexity
from resnet_repro.plan import Plan, Row
from resnet_repro.settings.experiment import PaperValues
from resnet_repro.settings.external_model import ExternalModelConfig
from resnet_repro.strict_json import SPARE
from resnet_repro.text import markdown


@dataclass(frozen=True)
class NetworkCounts:
    """The size of a row's network, next to the paper's and the exact one.

    Attributes:
        row: The row's name.
        layers: Number of layers.
        paper_layers: Number of layers as printed; None if the paper prints none, here and below.
        params: Number of parameters.
        params_without_batch_norm: Number of parameters without those of batch norm.
        paper_params: Number of parameters as printed, rounded or truncated.
        exact_params: Exact number of parameters in the experiment file.
        multiply_adds: Multiply-adds for one image.
        paper_multiply_adds: Multiply-adds as printed.
        exact_multiply_adds: Exact multiply-adds in the experiment file.
        wrong: Names of the numbers that differ.
        right: Whether no number differs.
    """

    row: str
    layers: int
    paper_layers: int | None
    params: int
    params_without_batch_norm: int
    paper_params: float | None
    exact_params: int | None
    multiply_adds: int
    paper_multiply_adds: float | None
    exact_multiply_adds: int | None
    wrong: tuple[str, ...]
    right: bool


@dataclass(frozen=True)
class Networks:
    """The networks of an experiment's selected rows.

    Attributes:
        experiment: The experiment's name.
        right: Whether all of them are right.
        rows: The networks.
        note: What the multiply-adds of detectors are; empty where there are none.
    """

    experiment: str
    right: bool
    rows: tuple[NetworkCounts, ...]
    note: str = field(default="", metadata=SPARE)


def check_networks(plan: Plan) -> Networks:
    """Compare layers, parameters and multiply-adds of every selected row with the paper's.

    They are also compared with the row's `exact` counts, which follow from the paper's description.
    """
    rows = rows_to_estimate(plan)
    found = tuple(map(_check, rows))
    right = all(each.right for each in found)
    return Networks(plan.name, right, found, about_detectors(row.config for row in rows))


def _check(row: Row) -> NetworkCounts:
    assert row.config is not None
    is_another = row.point or isinstance(row.config.model, ExternalModelConfig)
    if is_another and not row.is_network_as_shipped:
        row = replace(row, paper=PaperValues(), exact=None)  # theirs are another network's
    assert row.config is not None
    size, paper, exact = measure(row.config), row.paper, row.exact
    wrong = _differences(row, size)
    return NetworkCounts(
        row=row.name,
        layers=size.layers,
        paper_layers=paper.layers,
        params=size.params,
        params_without_batch_norm=size.params_without_bn,
        paper_params=paper.params,
        exact_params=exact.params if exact else None,
        multiply_adds=size.multiply_adds,
        paper_multiply_adds=paper.multiply_adds,
        exact_multiply_adds=exact.multiply_adds if exact else None,
        wrong=tuple(wrong),
        right=not wrong,
    )


def networks_text(networks: Networks) -> str:
    """Return the comparison as a table."""
    header = ["row", "layers", "paper", "params", "paper", "multiply-adds", "paper", "verdict"]
    lines = [
        [
            each.row,
            str(each.layers),
            str(each.paper_layers or ""),
            f"{each.params:,}",
            _printed(each.paper_params),
            f"{each.multiply_adds:,}",
            _printed(each.paper_multiply_adds),
            _verdict(each),
        ]
        for each in networks.rows
    ]
    parts = [networks.experiment, markdown(header, lines)]
    return "\n\n".join([*parts, *([networks.note] if networks.note else [])])


def _verdict(network: NetworkCounts) -> str:
    if network.wrong:
        return f"differs: {', '.join(network.wrong)}"
    printed = (network.paper_layers, network.paper_params, network.paper_multiply_adds)
    if any(value is not None for value in printed):
        return "agrees"
    return "nothing to compare" if network.exact_params is None else "agrees with exact counts"


def _differences(row: Row, size: Complexity) -> list[str]:
    paper, exact = row.paper, row.exact
    agree = {
        "layers": paper.layers is None or size.layers == paper.layers,
        # [He16] and [Xie17] print counts without batch norm, [He15] includes it.
        "params": paper.params is None
        or any(agrees(n, paper.params) for n in (size.params, size.params_without_bn)),
        "multiply-adds": paper.multiply_adds is None
        or agrees(size.multiply_adds, paper.multiply_adds),
        "exact params": exact is None or size.params == exact.params,
        "exact multiply-adds": exact is None
        or exact.multiply_adds is None
        or size.multiply_adds == exact.multiply_adds,
    }
    return [name for name, right in agree.items() if not right]


def agrees(count: int, printed: float) -> bool:
    """Return whether a count agrees with the number that the paper prints in M or G.

    It agrees if the difference is less than one in the last printed digit, because papers round or
    truncate: [He15] prints 3.8 G for 3.858 G.
    """
    unit = 1e9 if printed >= 1e9 else 1e6
    digits = Decimal(repr(printed / unit)).normalize()
    step = Decimal(1).scaleb(min(int(digits.as_tuple().exponent), 0))
    return abs(Decimal(count) / Decimal(unit) - digits) < step


def _printed(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value / 1e9:g}G" if value >= 1e9 else f"{value / 1e6:g}M"
