"""An experiment as rows, and rows times seeds as runs: what to do."""

from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from resnet_repro.plan.names import folder_name
from resnet_repro.plan.runs import Ensemble, Run, Step, in_stages, with_needs
from resnet_repro.settings.evaluation import NOT_IN_KEY
from resnet_repro.settings.experiment import ClaimConfig, ExactCounts, PaperConfig, PaperValues
from resnet_repro.settings.run import RunConfig
from resnet_repro.settings.sweep import Values, value_text

__all__ = [
    "Change",
    "Ensemble",
    "Plan",
    "Row",
    "Run",
    "Step",
    "Sweep",
    "in_stages",
    "is_published",
    "with_needs",
]

# In the output root: what the project publishes. `scripts/publish` alone writes there.
PUBLISHED = "published"
RESERVED = ("runs", "imported", "benchmarks", PUBLISHED)  # folders there of no experiment

# Key, value and value as shipped of a setting that was changed.
Change = tuple[str, Any, Any]


def is_published(results: Path) -> bool:
    """Return whether an output root is that of published results."""
    return results.resolve().name == PUBLISHED


def _overlap(one: str, other: str) -> bool:
    """Return whether one of two dotted keys is the other, or inside of it."""
    return f"{one}.".startswith(f"{other}.") or f"{other}.".startswith(f"{one}.")


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Attributes:
        name: The name, as printed.
        paper, exact: The paper's numbers; the exact counts of the network.
        seeds: The seeds asked for.
        config: The settings (seed 0); None where the paper cites the row, and for an ensemble.
        changes: What was changed of the experiment's settings: in the identity, or the protocol.
        ensemble: The ensemble of other rows' networks, where the row is one.
        starts_from: The row whose networks' weights this row's runs start from, seed by seed.
        steps: The steps of its training, its own last; none for a single run.
        of: In a sweep, the row of the experiment that it is a case of.
        point: In a sweep, its value of each setting that is swept.
        fail_above, fail_below: Bounds of the table's first measure past which a run is a "fail".
        typed: The keys of the command line.
    """

    name: str
    paper: PaperValues
    exact: ExactCounts | None
    seeds: tuple[int, ...]
    config: RunConfig | None
    changes: tuple[Change, ...] = ()
    ensemble: Ensemble | None = None
    starts_from: "Row | None" = None
    steps: tuple[Step, ...] = ()
    of: str | None = None
    point: Values = ()
    fail_above: float | None = None
    fail_below: float | None = None
    typed: tuple[str, ...] = ()
    _runs: dict[tuple[str, int], Run] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @property
    def network(self) -> str:
        """The name of the experiment's row, which a case of a sweep shares with others."""
        return self.of or self.name

    @property
    def is_cited(self) -> bool:
        """Whether the paper quotes the row from elsewhere."""
        return self.config is None and self.ensemble is None

    @property
    def changed(self) -> tuple[str, ...]:
        """The changed settings for which the row is not compared with the paper's.

        All but the precision: a row in another one is compared, with a footnote.
        """
        return tuple(key for key, _, _ in self.changes if key != "recipe.precision")

    @property
    def fixed_changes(self) -> tuple[Change, ...]:
        """What was changed besides the settings that are swept.

        That is also what was typed inside of a group that is swept, or of tests, whose settings are
        compared as one.
        """
        swept = [key for key, _ in self.point]
        inside = [
            key
            for key in self.typed
            if key.startswith((*(f"{each}." for each in swept), "evaluation."))
            and key.removeprefix("evaluation.") not in NOT_IN_KEY
        ]
        return tuple(
            each
            for each in self.changes
            if not any(_overlap(each[0], key) for key in swept)
            or any(_overlap(each[0], key) for key in inside)
        )

    @property
    def is_at_shipped_point(self) -> bool:
        """Whether the settings that are swept have the experiment's own values."""
        # Settings of tests are compared as one, which does not tell typed ones from swept ones.
        tests = any(key.split(".")[0] == "evaluation" for key, _ in self.point)
        if tests and any(key == "evaluation" for key, _, _ in self.changes):
            return False
        return len(self.fixed_changes) == len(self.changes)

    @property
    def protocol(self) -> str:
        """Key of the test protocol of the row's number."""
        source = self.config or self.ensemble
        assert source is not None, f"{self.name} is cited"
        return source.evaluation.key

    @property
    def is_network_as_shipped(self) -> bool:
        """Whether the row's exact counts are those of its network."""
        of_data = ("data.num_classes", "data.image_size")
        shape = ("model.", *of_data, "detector.anchors", "detector.context")
        return not any(key.startswith(shape) for key, _, _ in self.changes)

    def run(self, seed: int) -> Run:
        """Return the row's run of a seed."""
        assert self.config is not None, f"{self.name} is cited"
        if ("", seed) not in self._runs:  # its digest takes a while, and is asked for often
            needs: tuple[Run, ...] = (self.starts_from.run(seed),) if self.starts_from else ()
            if self.steps:
                needs = self._needs(self.steps[-1], seed)
            # Cases that differ in the test share a network, and each has a result: no common name.
            of = None if any(key.startswith("evaluation") for key, _ in self.point) else self.of
            self._runs["", seed] = Run(self.name, replace(self.config, seed=seed), needs, of)
        return self._runs["", seed]

    def _needs(self, step: Step, seed: int) -> tuple[Run, ...]:
        steps = {each.name: each for each in self.steps}
        return tuple(self._step_run(steps[name], seed) for name in step.needs)

    def _step_run(self, step: Step, seed: int) -> Run:
        """Return the run of an earlier step, for a seed of the row."""
        seed = seed if step.seed is None else step.seed
        if (step.name, seed) not in self._runs:
            assert step.config is not None, "only the last step has the row's settings"
            config, name = replace(step.config, seed=seed), f"{self.network} {step.name}"
            self._runs[step.name, seed] = Run(name, config, self._needs(step, seed))
        return self._runs[step.name, seed]


@dataclass(frozen=True)
class Sweep:
    """What a plan varies.

    Attributes:
        keys: The settings that are swept.
        name: The name of its file; empty for one of the command line.
        baseline: The values that the others are compared with; None for the experiment's own.
    """

    keys: tuple[str, ...]
    name: str = ""
    baseline: Values | None = None

    @property
    def is_of_speed(self) -> bool:
        """Whether it varies how a run is computed, and so its speed and not its result."""
        return self.keys[0].split(".")[0] == "compute"


@dataclass(frozen=True)
class Plan:
    """An experiment.

    Attributes:
        name: The name of its file.
        paper: The paper's table.
        rows: All lines of the table, in order.
        selected: Names of the rows to work on: `row=`, or all that can be run.
        results: The output root.
        claims: The paper's conclusions from the table.
        changes: The words of the command line that determine the table: settings, seeds.
        sweep: What varies; None where each row has one set of settings.
    """

    name: str
    paper: PaperConfig
    rows: tuple[Row, ...]
    selected: tuple[str, ...]
    results: Path
    claims: tuple[ClaimConfig, ...] = ()
    changes: tuple[str, ...] = ()
    sweep: Sweep | None = None

    @cached_property
    def selected_rows(self) -> list[Row]:
        """The rows to work on, in table order."""
        names = set(self.selected)
        return [row for row in self.rows if row.name in names]

    @cached_property
    def runs(self) -> list[Run]:
        """Every run of the selected rows in table order, seeds innermost, and what they need."""
        runs = [row.run(seed) for row in self.selected_rows if row.config for seed in row.seeds]
        return with_needs([*runs, *(run for each in self.ensembles for run in each.needs)])

    @property
    def ensembles(self) -> list[Ensemble]:
        """Every ensemble of the selected rows."""
        return [row.ensemble for row in self.selected_rows if row.ensemble]

    @cached_property
    def folder(self) -> Path:
        """Folder of tables and plots: another than the experiment's when settings were changed."""
        words = self._changed_words()
        if self.sweep:
            name = folder_name("sweep-" + (self.sweep.name or "+".join(self.sweep.keys)), words)
        else:
            name = folder_name("changed-", words) if words else ""
        return self.results / self.name / name

    def _changed_words(self) -> list[str]:
        """Return `key=value` of what was changed; in a sweep, in all cases of a row alike."""
        cases: dict[str, list[set[str]]] = {}
        for row in self.rows:
            words = {f"{key}={value_text(value)}" for key, value, _ in row.fixed_changes}
            cases.setdefault(row.network, []).append(words)
        return sorted(set[str]().union(*(set.intersection(*each) for each in cases.values())))
