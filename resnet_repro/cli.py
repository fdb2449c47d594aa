"""The command line: a verb, and Hydra's `key=value` settings.

Imports of torch stay inside the verbs that need it: `--help` and `table` must not wait for it.
"""

from __future__ import annotations

import errno
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import hydra
import yaml
from hydra import compose
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from tqdm import tqdm

from resnet_repro import __version__
from resnet_repro.command import CONF, expand, explain, help_text
from resnet_repro.errors import UserError
from resnet_repro.experiment import Schema
from resnet_repro.plan import Plan, make_plan

if TYPE_CHECKING:
    from resnet_repro.distributed import Group

logger = logging.getLogger("resnet_repro")

INTERRUPTED = 130  # what a shell reports of a program that Ctrl-C ended
PIPE_CLOSED = 141  # and of one whose reader went away
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class _Console(logging.Handler):
    """Prints lines above a progress bar, where there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        file = sys.stderr if record.levelno >= logging.WARNING else sys.stdout
        with suppress(BrokenPipeError):  # nobody reads it; the run goes on, and has its own file
            tqdm.write(self.format(record), file=file)


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
        if {"--help", "-h"} & set(sys.argv[1:]):
            print(help_text(sys.argv[1:]), end="")
            return 0
        if "--version" in sys.argv:
            print(f"resnet-repro {__version__}")
            return 0
        return max(_run(line) for line in expand(sys.argv[1:], VERBS))
    except UserError as error:
        print(f"resnet-repro: {error}", file=sys.stderr)
    except (HydraException, OmegaConfBaseException) as error:
        print(f"resnet-repro: {explain(error)}", file=sys.stderr)
    except yaml.MarkedYAMLError as error:
        print(f"resnet-repro: {error.problem_mark}: {error.problem}".strip(), file=sys.stderr)
    except BrokenPipeError:  # `resnet-repro table ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    except AssertionError as error:
        if "Unexpected type for root" not in str(
            error
        ):  # OmegaConf's words for a.b where a is null
            raise
        print("resnet-repro: a setting lies below one that is null here", file=sys.stderr)
    except KeyboardInterrupt as error:
        print(f"resnet-repro: {str(error) or 'stopped'}", file=sys.stderr)
        return INTERRUPTED
    return 1


def _run(words: list[str]) -> int:
    """Let Hydra compose the configuration, and carry out its verb; `-m` does so several times."""
    codes = [0]
    mistakes = []  # carried past Hydra, which would print more

    @hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
    def task(config: DictConfig) -> None:
        try:
            verb = _verb(config)
            if verb in TOGETHER or not _is_silent():
                codes.append(VERBS[verb](config))
        except UserError as error:
            mistakes.append(error)
        except OSError as error:
            mistakes.append(_about_files(error, Path(config.results)))

    command, sys.argv = sys.argv, [sys.argv[0], *words]
    try:
        task()
    finally:
        sys.argv = command
    if mistakes:
        raise UserError("\n".join(map(str, mistakes)))
    return max(codes)


def _about_files(error: OSError, results: Path) -> UserError:
    """Return what to say of a disk or folder that the user can mend; raise any other error."""
    if error.errno in DISK_FULL:
        return UserError(
            f"{error.strerror}: what was saved before is whole.\n"
            f"Free some space or say results=DIR on another disk, then type the line again."
        )
    path = Path(os.fsdecode(error.filename)) if isinstance(error.filename, str | bytes) else None
    if path is None or results not in [path, *path.parents]:
        raise error
    return UserError(f"{error.strerror}: {path}. Say results=DIR where files can be written.")


def _verb(config: DictConfig) -> str:
    if config.mode not in VERBS:
        raise UserError(f"mode={config.mode}: it can be {', '.join(VERBS)}")
    return str(config.mode)


def _plan(config: DictConfig) -> Plan:
    hydra_config = HydraConfig.get()
    name = hydra_config.runtime.choices["experiment"]
    if name is None:
        names = ", ".join(_options("experiment"))
        raise UserError(f"which experiment? Say experiment=NAME, one of: {names}")
    config.name = config.name or name
    as_shipped = [f"experiment={name}"]
    if _options("local"):  # a machine's own settings are deviations like any others
        as_shipped.append("~local")
    shipped = compose("config", as_shipped)
    keys = [override.lstrip("+~").split("=")[0] for override in hydra_config.overrides.task]
    return make_plan(config, shipped, keys)


def _options(group: str) -> list[str]:
    """Return the options of a group on Hydra's search path."""
    return sorted(GlobalHydra.instance().config_loader().get_group_options(group))


def run(config: DictConfig) -> int:
    """Train what is missing, then write the table and the curves."""
    from resnet_repro.report.text import count

    plan = _plan(config)
    states = {run.id: plan.state(run) for run in plan.runs}
    todo = [run for run in plan.runs if states[run.id] != "done"]
    to_train = sum(states[run.id] != "trained" for run in todo)
    to_test = len(todo) - to_train
    more = f", {to_test} more to test" if to_test else ""
    _say(f"{plan.name}: {count(len(plan.runs), 'run')}, {to_train} to train{more}")
    complete = True
    if todo or plan.ensembles:
        from resnet_repro.launch.local import run_all

        with _together() as group:
            complete = run_all(plan, todo, group)
    _print_report(plan, "md")
    return 0 if complete else 1


def evaluate(config: DictConfig) -> int:
    """Test finished networks by another protocol, then print the table."""
    from resnet_repro.launch.local import run_all

    plan = _plan(config)
    states = {run.id: plan.state(run) for run in plan.runs}
    unfinished = [run for run in states if states[run] not in ("trained", "done")]
    if len(unfinished) == len(states):
        raise UserError(
            f"no run of {plan.name} with these settings is finished here; the same line without "
            f"`evaluate` trains them"
        )
    if unfinished:
        _say(f"not finished, not tested: {', '.join(unfinished)}")
    with _together() as group:
        complete = run_all(plan, [r for r in plan.runs if states[r.id] == "trained"], group)
    _print_report(plan, "md")
    return 0 if complete and not unfinished else 1


def import_weights(config: DictConfig) -> int:
    """Test published weights; `weights=FILE` in torchvision's names."""
    from resnet_repro.launch.local import evaluate_imported
    from resnet_repro.report.overview import imported_text

    if not config.weights:
        raise UserError("which weights? Say weights=FILE, a torchvision ResNet's or ResNeXt's .pth")
    results = Path(config.results)
    with _together() as group:
        evaluate_imported(Path(config.weights), config, results, group)
    _say(imported_text(results))
    return 0


def _say(text: str) -> None:
    if not _is_silent():
        print(text, flush=True)


def _is_silent() -> bool:
    """Return whether torchrun or srun started several of us, and we are not the first."""
    ask = os.environ.get
    if int(ask("WORLD_SIZE", "1")) > 1:
        return ask("RANK", "0") != "0"
    return int(ask("SLURM_STEP_NUM_TASKS", "1")) > 1 and ask("SLURM_PROCID", "0") != "0"


@contextmanager
def _together() -> Iterator[Group]:
    """Meet the processes that torchrun or srun started with us, if they did."""
    from resnet_repro.distributed import ALONE, join, leave, started_by_others

    found = started_by_others()
    if found is None:
        yield ALONE
        return
    join(*found)
    if not found[0].is_main:
        for handler in logger.handlers:
            handler.setLevel(logging.CRITICAL)
    yield found[0]
    leave()  # not after an error: the others would not come


def table(config: DictConfig) -> int:
    """Print the table from what is recorded, and write it anew."""
    _print_report(_plan(config), config.format)
    return 0


def _print_report(plan: Plan, kind: str) -> None:
    from resnet_repro.report import render, write_report

    if _is_silent():
        return
    made, pictures = write_report(plan)
    print(render(made, kind), end="", flush=True)
    if pictures:  # not to stdout: `table format=json` is for other programs to read
        files = [plan.folder / "table.md", *pictures]
        print("\n".join(["", "Written:", *(f"  {file}" for file in files)]), file=sys.stderr)


def list_experiments(config: DictConfig) -> int:
    """Print every experiment: where it is printed, its rows, its runs, what is done."""
    from resnet_repro.report.overview import experiments_text

    plans, broken = [], []
    for name in _options("experiment"):
        try:
            each = compose("config", [f"experiment={name}", f"results={config.results}"])
            plans.append(make_plan(each, each, []))
        except (UserError, HydraException, OmegaConfBaseException) as error:
            why = error if isinstance(error, UserError) else explain(error)
            broken.append(f"experiment={name} cannot be read: {why}")
    print("\n".join([experiments_text(plans), *broken]))
    return 0


def plan(config: DictConfig) -> int:
    """Print every run and what it costs; train nothing."""
    from resnet_repro.report.cost import plan_text

    print(plan_text(_plan(config)))
    return 0


def verify(config: DictConfig) -> int:
    """Print layers, parameters and multiply-adds against the paper's; 1 where they differ."""
    from resnet_repro.report.cost import verify_text

    if HydraConfig.get().runtime.choices["experiment"] is None:
        names = _options("experiment")
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
    "evaluate": evaluate,
    "import": import_weights,
}
# Those in which several processes do one piece of work; in all others the first is enough.
TOGETHER = ("run", "evaluate", "import")
