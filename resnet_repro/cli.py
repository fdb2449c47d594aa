"""The command line: a verb, and Hydra's `key=value` settings.

Imports of torch stay inside the verbs that need it: `--help` and `table` must not wait for it.
"""

import difflib
import logging
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

import hydra
from hydra import compose
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from tqdm import tqdm

from resnet_repro.errors import UserError
from resnet_repro.experiment import Schema
from resnet_repro.plan import Plan, make_plan
from resnet_repro.records import Record

logger = logging.getLogger("resnet_repro")

# In a checkout the configs lie beside the package, in a wheel inside it.
_HERE = Path(__file__).resolve().parent
CONF = next(d for d in (_HERE / "conf", _HERE.parent / "conf") if (d / "config.yaml").is_file())

HELP = """\
The tables of the ResNet papers, runnable.

  resnet-repro [list]                   the experiments, and what of them is done
  resnet-repro experiment=NAME          run what is missing, then write the table
  resnet-repro plan experiment=NAME     what would run, and how long it takes
  resnet-repro verify [experiment=NAME] layers, parameters, multiply-adds against the paper
  resnet-repro status experiment=NAME   each run: done, running, failed, waiting
  resnet-repro table experiment=NAME    the table from what is recorded; format=md|csv|json|tex

A part of it    row=ResNet-110  'row=[ResNet-20,ResNet-32]'  'seeds=[0,1,2]'
Other settings  recipe.iterations=1500  recipe.precision=bf16  compute.device=cpu
                data.root=DIR (or RESNET_REPRO_DATA=DIR)  results=DIR
Hydra's own     --cfg job shows all settings, -m sweeps, --config-dir DIR adds experiments of
                yours, --hydra-help tells the rest

Groups (GROUP=OPTION)
"""
INTERRUPTED = 130  # what a shell reports of a program that Ctrl-C ended


class _Console(logging.Handler):
    """Prints lines above a progress bar, where there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(self.format(record), file=sys.stdout)


def main() -> int:
    """Run the command line; return the exit code.

    A user's mistake is answered in one or two lines; anything else keeps its traceback.
    """
    logger.handlers, logger.propagate = [_Console(logging.INFO)], False
    logger.setLevel(logging.DEBUG)  # for a run's own file
    # Hydra then raises what it would print, and we say it shorter.
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    ConfigStore.instance().store(name="schema", node=Schema)
    try:
        return max((_run(line) for line in _expand(sys.argv[1:])), default=0)
    except UserError as error:
        print(f"resnet-repro: {error}", file=sys.stderr)
    except (HydraException, OmegaConfBaseException) as error:
        print(f"resnet-repro: {_explain(error)}", file=sys.stderr)
    except KeyboardInterrupt as error:
        print(f"resnet-repro: {str(error) or 'stopped'}", file=sys.stderr)
        return INTERRUPTED
    return 1


def _expand(words: list[str]) -> list[list[str]]:
    """Return the lines that Hydra is to read: verb as `mode=VERB`, one line per experiment."""
    if "-m" not in words and "--multirun" not in words:
        for index, word in enumerate(words):
            if word.startswith("experiment=") and "," in word:
                names = word.removeprefix("experiment=").strip("[]").split(",")
                lines = [[*words[:index], f"experiment={n}", *words[index + 1 :]] for n in names]
                return [expanded for line in lines for expanded in _expand(line)]
    if not words:
        return [["mode=list"]]
    if words[0] in ("--help", "-h"):
        print(HELP + _groups(), end="")
        return []
    if words[0] in VERBS:
        words = [*words[1:], f"mode={words[0]}"]
    elif re.fullmatch(r"\w+", words[0]):
        raise UserError(f"there is no verb {words[0]}{_nearest(words[0], VERBS)}")
    # Hydra wants its own flags before the settings; a user need not know.
    return [sorted(words, key=lambda word: bool(re.match(r"[\w+~].*=", word)))]


def _groups() -> str:
    folders = sorted(folder for folder in CONF.iterdir() if folder.is_dir())
    options = {f.name: sorted(file.stem for file in f.glob("*.yaml")) for f in folders}
    return "".join(f"  {name:12}{', '.join(options[name])}\n" for name in options)


def _run(words: list[str]) -> int:
    """Let Hydra compose the configuration, and carry out its verb; `-m` does so several times."""
    codes = [0]
    mistakes = []  # carried past Hydra, which would print more

    @hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
    def task(config: DictConfig) -> None:
        try:
            codes.append(VERBS[_verb(config)](config))
        except UserError as error:
            mistakes.append(error)

    command, sys.argv = sys.argv, [sys.argv[0], *words]
    try:
        task()
    finally:
        sys.argv = command
    if mistakes:
        raise UserError("\n".join(map(str, mistakes)))
    return max(codes)


def _verb(config: DictConfig) -> str:
    if config.mode not in VERBS:
        raise UserError(f"mode={config.mode}: it can be {', '.join(VERBS)}")
    return str(config.mode)


def _plan(config: DictConfig) -> Plan:
    if config.name is None:
        names = ", ".join(_experiments())
        raise UserError(f"which experiment? Say experiment=NAME, one of: {names}")
    hydra_config = HydraConfig.get()
    as_shipped = [f"experiment={hydra_config.runtime.choices['experiment']}"]
    if _options("local"):  # a machine's own settings are deviations like any others
        as_shipped.append("~local")
    shipped = compose("config", as_shipped)
    keys = [override.lstrip("+~").split("=")[0] for override in hydra_config.overrides.task]
    return make_plan(config, shipped, keys)


def _experiments() -> list[str]:
    """Return the names of all experiments."""
    return _options("experiment")


def _options(group: str) -> list[str]:
    """Return the options of a group on Hydra's search path."""
    return sorted(GlobalHydra.instance().config_loader().get_group_options(group))


def run(config: DictConfig) -> int:
    """Train what is missing, then write the table and the curves."""
    plan = _plan(config)
    todo = [run for run in plan.runs if Record(plan.run_folder(run)).state() != "finished"]
    print(f"{plan.name}: {len(plan.runs)} to have, {len(todo)} to run", flush=True)
    complete = True
    if todo:
        from resnet_repro.launch.local import run_all

        complete = run_all(plan, todo)
    _print_report(plan, "md")
    return 0 if complete else 1


def table(config: DictConfig) -> int:
    """Print the table from what is recorded, and write it anew."""
    _print_report(_plan(config), config.format)
    return 0


def _print_report(plan: Plan, kind: str) -> None:
    from resnet_repro.report import render, write_report

    made, pictures = write_report(plan)
    print(render(made, kind))
    if pictures:
        print("\n".join(["Written:", *(f"  {p}" for p in [plan.folder / "table.md", *pictures])]))


def list_experiments(config: DictConfig) -> int:
    """Print every experiment: where it is printed, its rows, its runs, what is done."""
    from resnet_repro.report.overview import experiments_text

    names = _experiments()
    results = f"results={config.results}"
    configs = [compose("config", [f"experiment={name}", results]) for name in names]
    print(experiments_text([make_plan(each, each, []) for each in configs]))
    return 0


def plan(config: DictConfig) -> int:
    """Print every run and what it costs; train nothing."""
    from resnet_repro.report.cost import plan_text

    print(plan_text(_plan(config)))
    return 0


def verify(config: DictConfig) -> int:
    """Print layers, parameters and multiply-adds against the paper's; 1 where they differ."""
    from resnet_repro.report.cost import verify_text

    if config.name is None:
        names = _experiments()
        plans = [
            make_plan(c, c, []) for c in (compose("config", [f"experiment={n}"]) for n in names)
        ]
    else:
        plans = [_plan(config)]
    texts, right = zip(*(verify_text(each) for each in plans), strict=True)
    print("\n\n".join(texts))
    return 0 if all(right) else 1


def status(config: DictConfig) -> int:
    """Print how far each run is."""
    from resnet_repro.report.overview import status_text

    print(status_text(_plan(config)))
    return 0


VERBS: dict[str, Callable[[DictConfig], int]] = {
    "run": run,
    "list": list_experiments,
    "plan": plan,
    "verify": verify,
    "table": table,
    "status": status,
}


def _nearest(word: str, choices: object) -> str:
    names = [str(choice) for choice in choices]  # type: ignore[attr-defined]
    near = difflib.get_close_matches(word, names, n=1)
    return f": did you mean {near[0]}?" if near else f"; there are {', '.join(names)}"


def _explain(error: Exception) -> str:
    """Say in two lines at most what Hydra or OmegaConf found wrong."""
    if isinstance(error, MissingConfigException) and error.options is not None:
        group, name = str(error.missing_cfg_file).rsplit("/", 1)
        return f"{group}={name}: it can be {', '.join(error.options)}"
    if isinstance(error, OverrideParseException):
        return f"{error.override} cannot be read: {str(error).splitlines()[0]}"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    cause = error.__cause__
    missing = re.search(r"Key '(\w+)' (?:is not in struct|not in '(\w+)')", str(cause or error))
    if missing and isinstance(cause, OmegaConfBaseException):
        section = cause.parent_node
        choices = list(section) if isinstance(section, DictConfig) else []
        where = f"there is no setting {cause.full_key}"
        return where + _nearest(missing[1], choices)
    if isinstance(cause, OmegaConfBaseException) and cause.full_key:
        return f"{cause.full_key}: {str(cause.msg).splitlines()[0]}"
    return " ".join(lines[:2])
