"""Configurations that Hydra composes, made into plans; only inside of `hydra.main`."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import compress
from pathlib import Path
from typing import cast

from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from resnet_repro.cli.plugins import KEY
from resnet_repro.cli.shipped import compose_shipped, compose_without_local, words_of
from resnet_repro.errors import UserError
from resnet_repro.plan import RESERVED, Plan
from resnet_repro.plan.expand import CHANGING, OF_SWEEPS, make_plan
from resnet_repro.records.archive import RECORDS_FILE, Archive, read_archive
from resnet_repro.records.find_archives import RecordsFile, archives_in
from resnet_repro.records.folders import run_folders
from resnet_repro.settings.files import CODE, check
from resnet_repro.settings.groups import CONF, find
from resnet_repro.settings.mistakes import MISTAKES, explain
from resnet_repro.settings.sweep import SweepConfig, Values, point_text, points

# Verbs that accept a sweep over settings that change only the speed of a run.
SPEED_VERBS = ("run", "bench")


def options(group: str) -> list[str]:
    """Return the options of a group on Hydra's search path."""
    found = GlobalHydra.instance().config_loader().get_group_options(group)
    return sorted(name for name in found if not name.startswith("."))


def asked_plan(config: DictConfig) -> Plan:
    """Return the plan that the command line asks for.

    Raises:
        UserError: No experiment is named, or it lacks what is asked for.
    """
    hydra_config = HydraConfig.get()
    name = hydra_config.runtime.choices["experiment"]
    if name is None and (sweep := hydra_config.runtime.choices.get("sweep")):
        raise UserError(f"sweep={sweep} names no experiment: add experiment: NAME to its file")
    if name is None:
        names = ", ".join(options("experiment"))
        raise UserError(f"which experiment? Set experiment=NAME, one of: {names}")
    _name(config, name)
    shipped, words = compose_shipped(name), list(hydra_config.overrides.task)
    swept = points(cast(SweepConfig, OmegaConf.to_object(config.sweep)))[:1]
    typed = [*(word.partition("=")[0] for word in words), *(key for at in swept for key, _ in at)]
    words = [*_own_words(hydra_config.runtime.choices.get("local"), typed), *words]
    debug = hydra_config.runtime.choices.get("debug")
    chosen = [word.partition("=")[0] for word in words_of("debug", debug)] if debug else []
    plan = make_plan(config, shipped, words, partial(_with_words, words), chosen=chosen)
    if plan.sweep is None:
        return plan
    if plan.sweep.is_of_speed and config.mode not in SPEED_VERBS:
        raise UserError(
            f"{', '.join(plan.sweep.keys)} changes how fast a run is, not its result: "
            f"`{config.mode}` takes one value; `run` and `bench` compare the speeds of several"
        )
    if plan.sweep.name:
        return plan
    recorded = _recorded_points(plan)
    there = {point_text(row.point) for row in plan.rows}
    if all(point_text(point) in there for point in recorded):
        return plan
    return make_plan(config, shipped, words, partial(_with_words, words), recorded, chosen)


def _own_words(option: str | None, typed: Sequence[str]) -> list[str]:
    """Return what this machine's own settings change in runs: deviations like those typed.

    Args:
        option: The file of this machine's settings.
        typed: The keys of the command line, which wins.
    """
    again = {"data.root", *typed}
    words = words_of("local", option) if option else []
    keys = [word.partition("=")[0] for word in words]
    changing = [key not in again and key.split(".")[0] in CHANGING for key in keys]
    return list(compress(words, changing))


def _with_words(words: Sequence[str], more: Sequence[str]) -> DictConfig:
    return compose("config", [*words, *more])


def _recorded_points(plan: Plan) -> list[Values]:
    """Return the points of a sweep over the same settings whose table is in the same folder.

    More values of a setting extend the table; they do not replace it.
    """
    path = plan.folder / RECORDS_FILE
    if not path.is_file():
        return []
    changes = read_archive(path).changes
    words = [word for word in changes if word.startswith("sweep.")]
    if not {*words} - {*plan.changes}:
        return []
    config = compose("config", [f"experiment={plan.name}", *words])
    return points(cast(SweepConfig, OmegaConf.to_object(config.sweep)))


def _name(config: DictConfig, name: str) -> None:
    """Set an experiment's name to that of its file, under which its results are stored.

    Raises:
        UserError: The file sets another name, or the name is reserved.
    """
    if name in RESERVED:
        raise UserError(f"experiment={name}: results/{name} has another use; rename the file")
    if config.name not in (None, name):
        raise UserError(
            f"experiment={name} has name: {config.name}; leave that out, or set it to {name}"
        )
    config.name = name


def _shipped(name: str) -> DictConfig:
    try:
        return compose_shipped(name)
    except Exception:
        check("experiment", name, _folders())  # says which file, and on which line
        raise


def shipped_plan(name: str, results: str = "results") -> Plan:
    """Return an experiment as it is shipped."""
    config = _shipped(name)
    config.results = results
    _name(config, name)
    return make_plan(config, config, [])


def every_plan(results: str, names: Iterable[str] | None = None) -> tuple[list[Plan], list[str]]:
    """Return experiments as they are shipped, and why some cannot be read, a line each.

    Args:
        results: The output root.
        names: The experiments' names; None for all.
    """
    plans, broken = [], []
    for name in options("experiment") if names is None else names:
        try:
            plans.append(shipped_plan(name, results))
        except MISTAKES as error:
            broken.append(f"experiment={name} cannot be read: {explain(error, _folders())}")
    return plans, broken


def every_recorded_plan(results: str) -> tuple[list[Plan], list[str]]:
    """Return every experiment that `results` has something of, and why some are left out.

    With the settings of its records, where there are any, and one plan for each set of settings;
    else as it is shipped: runs of it may be under way. Experiments of the user's own are always
    among them, so that one that cannot be read is named.
    """
    root = Path(results)
    paths = archives_in(root)
    names = options("experiment")
    if not _is_more_than_recorded(root, paths):  # composing all of ours takes a second
        names = [name for name in names if not _is_ours(name)]
    shipped, broken = every_plan(results, names)
    plans = {plan.folder: plan for plan in shipped}
    for path in paths:
        plans.pop(path.parent, None)
        try:
            plan = replace(recorded_plan(path), results=root)
            if path.parent != plan.folder:
                raise UserError(f"{path}: its settings belong in {plan.folder}")
            plans[plan.folder] = plan
        except MISTAKES as error:
            broken.append(f"left out: {explain(error, _folders())}")
    return [plans[folder] for folder in sorted(plans)], broken


def recorded_plans(files: Iterable[RecordsFile]) -> tuple[dict[Path, Plan], dict[Path, str]]:
    """Return the experiments that files of records are of, and why some cannot be read."""
    plans, broken = {}, {}
    made: dict[tuple[str, tuple[str, ...]], Plan] = {}  # many files are of the same table
    for path, packed in files:
        try:
            archive = read_archive(path, packed=packed)
            key = archive.experiment, archive.changes
            if key not in made:
                made[key] = _plan_of(archive, path)
            plans[path] = made[key]
        except MISTAKES as error:
            broken[path] = explain(error, _folders())
    return plans, broken


def _is_more_than_recorded(root: Path, paths: Iterable[Path]) -> bool:
    """Return whether there are folders of runs that no file of records has."""
    recorded = set()
    for path in paths:
        with suppress(UserError):
            recorded |= {result.run for result in read_archive(path).results.values()}
    there = run_folders(root / "runs").items()
    return any(f"{seed}-{digest}" not in recorded for seed, found in there for digest in found)


def _is_ours(experiment: str) -> bool:
    """Return whether an experiment comes with the program."""
    path = find("experiment", experiment, _folders())
    return path is not None and path.is_relative_to(CONF)


def _folders() -> list[Path]:
    """Return the folders of settings on Hydra's search path."""
    sources = GlobalHydra.instance().config_loader().get_sources()
    return [Path(source.path) for source in sources if source.scheme() == "file"]


def recorded_plan(path: Path, *, own_seeds: bool = False) -> Plan:
    """Return the experiment that a file of records is of, with the settings that it had.

    Args:
        path: The file of records.
        own_seeds: Whether the table asks for the experiment's seeds, not for those of the command
            that wrote it last, which may have trained some of them.

    Raises:
        UserError: It cannot be read, or is of no experiment that is here.
    """
    archive = read_archive(path)
    if own_seeds:
        kept = (word for word in archive.changes if not word.startswith("seeds="))
        archive = replace(archive, changes=tuple(kept))
    return _plan_of(archive, path)


def _plan_of(archive: Archive, path: Path) -> Plan:
    if archive.experiment not in options("experiment"):
        raise UserError(
            f"{path} holds records of {archive.experiment}, and there is no such experiment here"
        )
    sweep = next((w.partition("=")[2] for w in archive.changes if w.startswith("sweep=")), None)
    if sweep and sweep not in options("sweep"):
        raise UserError(f"{path} is of sweep={sweep}, which is not here: name the folder of its "
                        f"file with --config-dir")  # fmt: skip
    if any(word.startswith(KEY) for word in archive.changes):
        raise UserError(f"{path}: {CODE.format(KEY)}")
    for word in archive.changes:  # Hydra would import what hydra.searchpath names
        if word.lstrip("+~").split("=")[0].split(".")[0] not in (*CHANGING, *OF_SWEEPS):
            raise UserError(f"{path}: {word} is no setting that a table records")
    try:
        return _composed(archive)
    except OSError:
        raise
    except MISTAKES as error:
        raise UserError(f"{path}: {explain(error, _folders())}") from error
    except Exception as error:  # OmegaConf and we raise a dozen kinds on what nobody typed
        words = " ".join(archive.changes)
        raise UserError(f"{path}: its settings cannot be read: {words}") from error


def _composed(archive: Archive) -> Plan:
    shipped = _shipped(archive.experiment)
    config, words = shipped, [f"experiment={archive.experiment}", *archive.changes]
    if archive.changes:
        config = compose_without_local(words)
    _name(config, archive.experiment)

    def recompose(more: Sequence[str]) -> DictConfig:
        return compose_without_local([*words, *more])

    return make_plan(config, shipped, archive.changes, recompose)
