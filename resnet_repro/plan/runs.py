"""Runs: what is trained once, which ids they have, and in which order they are trained.

The only place that makes ids.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

from resnet_repro.plan.names import digest as hashed
from resnet_repro.plan.names import slug
from resnet_repro.settings.evaluation import EvaluationConfig
from resnet_repro.settings.run import RunConfig


@dataclass(frozen=True)
class Run:
    """One network trained once: a row and a seed.

    Attributes:
        row: The row's name, and that of the step in a training of several.
        config: The settings, the seed among them.
        needs: The runs that are trained first: the one whose final weights this one starts from;
            for a detector, last, the one that proposes its regions.
        of: The row of the experiment, in a sweep, where `row` has a value in its name too.
    """

    row: str
    config: RunConfig
    needs: tuple["Run", ...] = ()
    of: str | None = None

    @property
    def seed(self) -> int:
        """The run's seed."""
        return self.config.seed

    @cached_property
    def digest(self) -> str:
        """Hash of the settings, the seed and the needed runs, whatever row names the run."""
        signed = {**self.config.identity(), "seed": self.seed}
        if self.needs:
            signed["needs"] = [run.digest for run in self.needs]
        return hashed(json.dumps(signed, sort_keys=True))

    @property
    def test(self) -> tuple[str, str]:
        """The digest and the protocol, which rows may share that name the run differently."""
        return self.digest, self.config.evaluation.key

    @cached_property
    def id(self) -> str:
        """Name of the run's folder: the same settings give the same one on every machine."""
        return f"{slug(self.of or self.row)}-seed{self.seed}-{self.digest}"


@dataclass(frozen=True)
class Step:
    """A step of a training that takes several runs; see `settings.experiment.StepConfig`.

    Attributes:
        name: The step's name.
        config: The settings (seed 0); None for the row's own step, whose settings are the row's.
        start: The step from whose final weights it starts.
        proposals: The step whose network proposes its regions.
        seed: The step's seed; None for the row's.
        weights: The file that it starts from in place of a step.
        weights_sha256: That file's SHA-256.
        sections: The sections of its settings that are its own, and not the row's.
    """

    name: str
    config: RunConfig | None
    start: str | None = None
    proposals: str | None = None
    seed: int | None = None
    weights: str | None = None
    weights_sha256: str | None = None
    sections: frozenset[str] = frozenset()

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the steps that come first, each once."""
        return tuple(dict.fromkeys(name for name in (self.start, self.proposals) if name))


@dataclass(frozen=True)
class Ensemble:
    """Networks whose class probabilities are averaged.

    Attributes:
        row: The row's name.
        needs: The members, which are trained first.
        evaluation: How they are tested.
    """

    row: str
    needs: tuple[Run, ...]
    evaluation: EvaluationConfig

    @property
    def digest(self) -> str:
        """Hash of the members."""
        return hashed(" ".join(run.digest for run in self.needs))

    @property
    def id(self) -> str:
        """Name of the ensemble's folder."""
        return f"{slug(self.row)}-of{len(self.needs)}-{self.digest}"


def with_needs(runs: Iterable[Run]) -> list[Run]:
    """Return runs and all that they need, each once and after what it needs.

    Rows may need the same run, which each of them names after itself; it is the first one's.
    """
    found: dict[str, Run] = {}
    needed: set[tuple[str, str]] = set()
    for run in runs:
        for each in with_needs(run.needs):
            if each.id not in found and each.test not in needed:
                found[each.id] = each
            needed.add(each.test)
        found.setdefault(run.id, run)
        needed.add(run.test)
    return list(found.values())


def in_stages(runs: Iterable[Run]) -> list[list[Run]]:
    """Return runs in the stages in which they can be trained: no run needs one of its own stage."""
    return [list(stage) for _, stage in groupby(sorted(runs, key=_stage), key=_stage)]


def _stage(run: Run) -> int:
    return 1 + max((_stage(each) for each in run.needs), default=0)
