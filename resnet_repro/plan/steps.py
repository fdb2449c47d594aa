"""The steps of an experiment's training, as runs that a row's own run needs."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from graphlib import CycleError, TopologicalSorter
from hashlib import file_digest
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from resnet_repro.errors import UserError
from resnet_repro.plan import Step
from resnet_repro.plan.rows import row_settings
from resnet_repro.plan.sections import Sections
from resnet_repro.settings.experiment import RowConfig, StepConfig
from resnet_repro.settings.mistakes import locate
from resnet_repro.settings.run import SECTIONS, RunConfig
from resnet_repro.settings.sweep import Values
from resnet_repro.settings.words import at_home, quoted

PREFIX = "steps."
SHA256 = re.compile(r"[0-9a-f]{64}")
# The deviation `classifier` of a recipe, where a file is in place of our own.
OF_FILE = (
    "Detectors of all seeds start from the classifier in {}, which is not of our training, and is "
    "not normalised as the paper's; batch norm keeps the averages that it has there."
)


class Steps:
    """The steps of a composed configuration; none in an experiment whose rows are single runs.

    Args:
        config: The composed configuration; `every_step` is set in all steps but the last, after
            their own sections and before what the command line sets in a step.
        overridden: The keys given on the command line.

    Raises:
        UserError: A step needs one that there is not, or itself, or no step is the row's own; or a
            file is in place of a step whose weights nothing else can be.
    """

    def __init__(self, config: DictConfig, overridden: Sequence[str] = ()) -> None:
        self._experiment = config.name
        try:
            self._steps: dict[str, StepConfig] = {
                name: _read(config.steps[name]) for name in config.steps
            }
        except OmegaConfBaseException as error:
            raise UserError(f"{config.name}: {locate(error)}") from error
        self._order = self._sorted()
        self._check()
        self._bases = {}
        for name in self._order[:-1]:
            own = {key: config.steps[name][key] for key in SECTIONS if _has(config, name, key)}
            merged = OmegaConf.masked_copy(config, list(SECTIONS))
            for key, section in own.items():
                merged[key] = section
            merged.merge_with(config.every_step)
            for key in overridden:
                if key.startswith(f"{PREFIX}{name}.") and key.split(".")[2] in own:
                    OmegaConf.update(merged, key.split(".", 2)[2], OmegaConf.select(config, key))
            self._bases[name] = Sections(merged), frozenset(own)

    def _sorted(self) -> list[str]:
        """Return the steps' names, each after those that it needs, the row's own step last."""
        if not self._steps:
            return []
        needs = {name: _needed(step) for name, step in self._steps.items()}
        for name, wanted in needs.items():
            for each in wanted:
                if each not in needs:
                    raise UserError(f"{self._experiment}: step {name} needs {each}: no such step")
        last = [name for name in needs if not any(name in wanted for wanted in needs.values())]
        try:
            order = list(TopologicalSorter(needs).static_order())
        except CycleError as error:
            raise UserError(
                f"{self._experiment}: steps need each other: {', '.join(error.args[1])}"
            ) from error
        if len(last) != 1:
            raise UserError(
                f"{self._experiment}: one step is the rows' own, which no other needs; these are "
                f"{len(last)}: {', '.join(last)}"
            )
        return [*(name for name in order if name != last[0]), last[0]]

    def _check(self) -> None:
        starts = {step.start for step in self._steps.values()}
        proposers = {step.proposals for step in self._steps.values()}
        for name, step in self._steps.items():
            if step.proposals and not step.start:
                raise UserError(
                    f"{self._experiment}: step {name} has proposals and no start: name the step "
                    f"from whose weights its network starts"
                )
            digest = step.weights_sha256
            if digest and not (step.weights and SHA256.fullmatch(digest)):
                raise UserError(
                    f"steps.{name}.weights_sha256={digest}: it is 64 digits and letters a to f, "
                    f"and belongs to steps.{name}.weights"
                )
            if step.weights and (name not in starts or name in proposers):
                raise UserError(
                    f"steps.{name}.weights={step.weights}: a file of weights can only replace a "
                    f"step that others start from, such as "
                    f"{', '.join(sorted(each for each in starts - proposers if each))}"
                )

    def of(self, row: RowConfig, overridden: Sequence[str], point: Values = ()) -> tuple[Step, ...]:
        """Return a row's steps, its own last (whose settings are the row's, and not here).

        Args:
            row: The row of the experiment's file.
            overridden: The keys given on the command line.
            point: The row's values of the settings that are swept, without options of groups.

        Raises:
            UserError: A step has wrong settings, or the row sets one of an unknown step.
        """
        known = tuple(f"{PREFIX}{name}." for name in self._order[:-1])
        for key in row.set:
            if key.startswith(PREFIX) and not key.startswith(known):
                raise UserError(f"row {row.name} sets {key}: there are {', '.join(known)}")
        files = self.files()
        made = []
        for name in self._order[:-1]:
            if name in files:
                continue
            base, own = self._bases[name]
            prefix = f"{PREFIX}{name}."
            given = [
                key
                for key in overridden
                if not key.startswith(PREFIX) and key.split(".")[0] not in own
            ]
            given += [key.removeprefix(prefix) for key in overridden if key.startswith(prefix)]
            swept = tuple(_own(dict(point), prefix, own).items())
            changed = replace(row, set=_own(row.set, prefix, own))
            settings = row_settings(base, changed, given, swept)
            check_proposals(f"step {name}", settings, self._steps[name].proposals)
            made.append(self._step(name, files, settings, own))
        return (*made, self._step(self._order[-1], files, None)) if self._order else ()

    def files(self) -> dict[str, tuple[str, str]]:
        """Return the files in place of steps, each with its SHA-256.

        Raises:
            UserError: One of them cannot be read, and no SHA-256 is set.
        """
        given = {name: step for name, step in self._steps.items() if step.weights}
        return {
            name: (step.weights, step.weights_sha256 or _sha256(step.weights))
            for name, step in given.items()
            if step.weights
        }

    def _step(
        self,
        name: str,
        files: Mapping[str, tuple[str, str]],
        settings: RunConfig | None,
        own: frozenset[str] = frozenset(),
    ) -> Step:
        step = self._steps[name]
        file, digest = files.get(step.start or "", (None, None))
        made = Step(
            name,
            None,
            start=None if file else step.start,
            proposals=step.proposals,
            seed=step.seed,
            weights=file,
            weights_sha256=digest,
            sections=own,
        )
        return replace(made, config=_from_file(settings, made)) if settings else made


def check_proposals(what: str, settings: RunConfig, proposals: str | None) -> None:
    """Check that what trains regions, and nothing else, has another step's proposals.

    Raises:
        UserError: It is not so.
    """
    step = settings.detector.step
    if settings.detector.takes_proposals != bool(proposals):
        has = f"has those of {proposals}" if proposals else "has none"
        raise UserError(
            f"{what} trains detector.step={step} and {has}: a step that trains regions needs "
            f"`proposals: STEP`, and no other step takes it"
        )


def _sha256(weights: str) -> str:
    path = Path(at_home(weights))
    try:
        about = path.stat()
        return _sha256_of(path.resolve(), about.st_mtime_ns, about.st_size)
    except OSError as error:
        raise UserError(f"weights={weights}: {error.strerror}") from error


@cache
def _sha256_of(path: Path, changed: int, size: int) -> str:
    """Return the hash of a file, which many rows may start from."""
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def _from_file(settings: RunConfig, step: Step) -> RunConfig:
    """Return settings of a step's training, with the file of weights that it starts from."""
    if step.weights is None:
        return settings
    path, digest = str(Path(at_home(step.weights))), step.weights_sha256
    detector = replace(settings.detector, weights=path, weights_sha256=digest)
    return replace(settings, detector=detector)


def after_steps(settings: RunConfig, steps: Sequence[Step]) -> RunConfig:
    """Return a row's settings, which say what its steps start from.

    Args:
        settings: The row's.
        steps: Its steps, its own last.
    """
    settings = _from_file(settings, steps[-1])
    files = dict.fromkeys(Path(step.weights).name for step in steps if step.weights)
    if not files:
        return settings
    text = OF_FILE.format(" and ".join(files))
    deviations = settings.recipe.deviations | {"classifier": text}
    return replace(settings, recipe=replace(settings.recipe, deviations=deviations))


def recorded_words(words: Sequence[str], steps: Steps) -> list[str]:
    """Return words of a command line as records have them, which are read on other machines.

    Of a file of weights they have the name, without its folder, and the SHA-256; of a step's data
    no path.
    """
    files, made = steps.files(), []
    for word in words:
        key = word.lstrip("+~").partition("=")[0]
        name, _, last = key.removeprefix(PREFIX).rpartition(".")
        if last == "weights" and name in files:
            made.append(f"{key}={quoted(Path(files[name][0]).name)}")
        elif last != "weights_sha256" and not f".{key}".endswith(".data.root"):
            made.append(word)
    made += [f"{PREFIX}{name}.weights_sha256={digest}" for name, (_, digest) in files.items()]
    return made


def own_settings(row: RowConfig) -> RowConfig:
    """Return a row without the settings of its earlier steps."""
    kept = {key: value for key, value in row.set.items() if not key.startswith(PREFIX)}
    return replace(row, set=kept)


def _own(changes: Mapping[str, Any], prefix: str, own: frozenset[str]) -> dict[str, Any]:
    """Return what a row, or a sweep, sets in a step: its own keys, and those of shared sections.

    A row's other test is one of its own run.
    """
    apart = own | {"evaluation"}
    shared = {
        key: value
        for key, value in changes.items()
        if not key.startswith(PREFIX) and key.split(".")[0] not in apart
    }
    return shared | {
        key.removeprefix(prefix): value for key, value in changes.items() if key.startswith(prefix)
    }


def _needed(step: StepConfig) -> set[str]:
    return {name for name in (step.start, step.proposals) if name}


def _has(config: DictConfig, name: str, section: str) -> bool:
    return section in StepConfig.__dataclass_fields__ and config.steps[name][section] is not None


def _read(step: DictConfig) -> StepConfig:
    """Return a step's own keys; its sections are read with the row's changes."""
    keys = [key for key in StepConfig.__dataclass_fields__ if key not in SECTIONS]
    return StepConfig(**{key: step[key] for key in keys})
