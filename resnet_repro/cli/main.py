"""The command line: a verb, and Hydra's `key=value` settings.

Imports of torch stay inside the verbs that need it: `--help` and `table` must not wait for it.
"""

from __future__ import annotations

import errno
import io
import logging
import os
import sys
from contextlib import redirect_stdout
from pathlib import Path

import hydra
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf
from tqdm import tqdm

from resnet_repro import __version__
from resnet_repro.cli.completion import FLAGS, complete
from resnet_repro.cli.help import asked_help
from resnet_repro.cli.line import expand
from resnet_repro.cli.output import check_format, collected, reserve_stdout
from resnet_repro.cli.verbs import DISTRIBUTED, VERBS, WITH_BUDGET, WRITING
from resnet_repro.distributed.started import is_silent
from resnet_repro.errors import INTERRUPTED, UserError, nearest, shortage
from resnet_repro.plan import is_published
from resnet_repro.process import prepare_process
from resnet_repro.settings.files import check_named
from resnet_repro.settings.groups import CONF, folders
from resnet_repro.settings.mistakes import MISTAKES, explain
from resnet_repro.settings.schema import Schema
from resnet_repro.settings.words import at_home
from resnet_repro.visible import VisibleFormatter, VisibleOutput, visible

logger = logging.getLogger("resnet_repro")

PIPE_CLOSED = 141  # what a shell reports of a program whose reader went away
UNREAD = (errno.EPIPE, errno.EIO)  # a pipe, or a terminal, whose other end is closed
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class _Console(logging.Handler):
    """Prints lines above a progress bar, where there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        file = sys.stderr if record.levelno >= logging.WARNING else sys.stdout
        try:
            tqdm.write(self.format(record), file=file)
        except OSError as error:  # nobody reads it; the run goes on, and has its own file
            if error.errno not in UNREAD:
                raise


def main() -> int:
    """Run the command line; return the exit code.

    A user's mistake is answered in one or two lines; anything else keeps its traceback.
    """
    prepare_process()
    logger.handlers, logger.propagate = [_Console(logging.INFO)], False
    logger.handlers[0].setFormatter(VisibleFormatter())
    logger.setLevel(logging.DEBUG)  # for a run's own file
    # Pictures are drawn to files, and by no settings of the user's: nor may those fail or warn.
    os.environ.pop("MPLBACKEND", None)
    os.environ["MATPLOTLIBRC"] = os.devnull
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    # Hydra then raises what it would print, and we say it shorter.
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    ConfigStore.instance().store(name="schema", node=Schema)
    with redirect_stdout(VisibleOutput(sys.stdout) if sys.stdout else None):
        return _main()


def _main() -> int:
    OmegaConf.register_new_resolver("at_home", at_home, replace=True)
    words = sys.argv[1:]
    try:
        if (page := asked_help(words)) is not None:
            print(page, end="")
            return 0
        if "--version" in words:
            print(f"resnet-repro {__version__}")
            return 0
        if words and words[0].partition("=")[0] in FLAGS:
            return _complete(words)
        with collected():
            return max(_run(line) for line in expand(words, VERBS))
    except MISTAKES as error:
        print(f"resnet-repro: {visible(explain(error, folders(words)))}", file=sys.stderr)
    except BrokenPipeError:
        return _stop_printing()
    except AssertionError as error:
        if "Unexpected type for root" not in str(
            error
        ):  # OmegaConf's words for a.b where a is null
            raise
        print("resnet-repro: a setting lies below one that is null here", file=sys.stderr)
    except KeyboardInterrupt as error:
        if not is_silent():
            print(f"resnet-repro: {visible(str(error)) or 'stopped'}", file=sys.stderr)
        return INTERRUPTED
    return 1


def _run(words: list[str]) -> int:
    """Let Hydra compose the configuration, and carry out its verb; `-m` does so several times."""
    codes = [0]
    mistakes: list[Exception] = []  # carried past Hydra, which would print more
    begun = False

    @hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
    def task(config: DictConfig) -> None:
        nonlocal begun
        begun = True
        try:
            for key in ("results", "weights"):
                if config[key]:
                    config[key] = at_home(config[key])
            verb = _verb(config)
            if verb in DISTRIBUTED or not is_silent():
                with reserve_stdout(config.format):
                    codes.append(VERBS[verb](config))
        except MISTAKES as error:
            mistakes.append(error)
        except Exception as error:
            if isinstance(error, OSError) and error.errno in UNREAD and error.filename is None:
                codes.append(_stop_printing())
            else:
                mistakes.append(_about_machine(error, Path(config.results)))

    try:
        os.getcwd()  # noqa: PTH109 - as Hydra asks
    except OSError as error:
        raise UserError(
            f"the working directory cannot be used ({error.strerror}; was it deleted?): cd to "
            f"another, or to it again, and run the same command"
        ) from error
    command, sys.argv = sys.argv, [sys.argv[0], *words]
    try:
        task()
    except SystemExit as error:  # of Hydra's flags, which have said why
        return 1 if error.code else 0
    except Exception as error:
        if not begun:  # a file of settings may be the reason; Hydra seldom says which, and where
            check_named(words, folders(words))
        if not begun and isinstance(error, ValueError) and "--cfg" in str(error):
            raise UserError(str(error)) from error  # flags that exclude each other
        raise
    finally:
        sys.argv = command
    if mistakes:
        raise UserError("\n".join(explain(each, folders(words)) for each in mistakes))
    return max(codes)


def _complete(words: list[str]) -> int:
    """Answer the shell that asks what can stand at the cursor, by Hydra where we do not know."""
    answer = complete(words, list(VERBS))
    if answer is None:
        out = io.StringIO()
        with redirect_stdout(out):
            _run(words)
        answer = out.getvalue()
        if "query=" in " ".join(words):
            answer = "".join(f"{each}\n" for each in answer.split())
    print(answer, end="")
    return 0


def _stop_printing() -> int:
    """Nobody reads on: `resnet-repro table ... | head`."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return PIPE_CLOSED


def _about_machine(error: Exception, results: Path) -> UserError:
    """Return what to say of a shortage or a folder that the user can mend; raise others."""
    lacks = shortage(error)
    if lacks:
        return UserError(
            f"{lacks}. `ulimit -v` tells whether memory is limited here; a smaller "
            f"recipe.bn_batch, or evaluation.batch_size for tests, needs less."
        )
    if not isinstance(error, OSError):
        raise error
    return _about_files(error, results)


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
        raise UserError(f"there is no verb {config.mode}{nearest(config.mode, VERBS)}")
    if config.budget is not None and config.mode not in WITH_BUDGET:
        raise UserError(f"budget= chooses what to run: `{config.mode}` has no use for it")
    if config.mode in WRITING and is_published(Path(config.results)):
        raise UserError(
            f"{config.results} is for published results, and `{config.mode}` does not write there: "
            f"set another results=DIR; in a checkout, `scripts/publish NAME` publishes what you ran"
        )
    check_format(config.mode, config.format)
    return str(config.mode)
