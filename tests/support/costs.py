"""A machine whose speed is known, and what a plan costs on it."""

from resnet_repro.cost import table as cost
from resnet_repro.cost.estimates import Estimates
from resnet_repro.models.complexity import measure

RATE = 1e10  # multiply-adds per second of the machine that is put in place of this one


class Machine:
    """One on which speeds follow multiply-adds, in place of this one.

    Attributes:
        timed: The depths and shortcuts that were timed, half a second each.
        bursts: Seconds from and to which other programs make it 20 times slower.
    """

    def __init__(self):
        self.timed, self.bursts, self.now = [], [], 0.0

    def busy_cores(self):
        return float(any(begin <= self.now - 0.25 < end for begin, end in self.bursts))

    def images_per_second(self, config):
        self.timed.append((config.model.depth, config.model.shortcut))
        self.now += 0.5
        return RATE / measure(config).multiply_adds / (20 if self.busy_cores() else 1)


def speeds_of(made, estimates=None):
    """Return the speed of each row that is selected, by its name."""
    found = estimates or Estimates(made)
    rows = [row for row in made.selected_rows if row.config]
    return {row.name: found.speed(row.run(row.seeds[0])) for row in rows}


def plan_text(made):
    return cost.cost_text(cost.plan_cost(made))


def row_of(made, name):
    return next(row for row in made.rows if row.name == name)


def seconds_of(made, *runs):
    """seconds_of(plan, ("ResNet-20", 3)): what three runs of a row take on that machine."""
    estimates = Estimates(made)
    return sum(number * estimates.seconds_left(row_of(made, name).run(0)) for name, number in runs)
