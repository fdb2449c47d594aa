"""Confirmation of commands with thousands of runs, which may be typing errors."""

from omegaconf import DictConfig, OmegaConf, open_dict

from resnet_repro.cli.compose import asked_plan
from resnet_repro.errors import UserError
from resnet_repro.plan import Plan
from resnet_repro.settings.sweep import SweepConfig, points, value_words
from resnet_repro.text import duration

MAX_RUNS = 2500  # most runs without confirmation
MAX_POINTS = 100  # most points of a sweep that are expanded before the confirmation


def confirmed_plan(config: DictConfig) -> Plan:
    """Return the plan that the command line asks for, if it is small or `yes=true` confirms it.

    Raises:
        UserError: It has more than `MAX_RUNS` runs; the message says how many and what they cost.
    """
    if config.yes:
        return asked_plan(config)
    sweep = OmegaConf.to_object(config.sweep)
    assert isinstance(sweep, SweepConfig)
    all_points = points(sweep)
    if len(all_points) > MAX_POINTS and not _names_cases(config):
        first = config.copy()  # to expand all of them takes minutes where they are too many
        with open_dict(first):
            first.baseline = None
            first.sweep = SweepConfig(
                rows=sweep.rows, seeds=sweep.seeds, grid=value_words(all_points[0])
            )
        _check(asked_plan(first), len(all_points))
    plan = asked_plan(config)
    _check(plan)
    return plan


def _names_cases(config: DictConfig) -> bool:
    """Return whether `row=` names rows with values, as a job of a sweep does."""
    return "=" in str(config.row)


def _check(plan: Plan, times: int = 1) -> None:
    """Refuse a plan with more than `MAX_RUNS` runs; it stands for `times` as many."""
    from resnet_repro.cost.estimates import Estimates

    number = times * len(plan.runs)
    if number <= MAX_RUNS:
        return
    estimates = Estimates(plan)
    trained = {run.digest: run for run in plan.runs}  # several tests may be of one
    seconds = times * sum(estimates.seconds_left(run) for run in trained.values())
    raise UserError(
        f"{plan.name}: {number:,} runs, about {duration(seconds)} on this machine, one after the "
        f"other. Add yes=true to run them all"
    )
